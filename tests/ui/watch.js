// Runs before the page's own scripts: what it has been sent, and what it still waits for.
(() => {
  const watch = (window.__watch = { seen: -1, pending: 0 });
  window.EventSource = class extends window.EventSource {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", (event) => {
        watch.seen = JSON.parse(event.data).screen.list_version;
        requestAnimationFrame(() => { watch.at = performance.timeOrigin + performance.now(); });
      });
    }
  };
  const fetch = window.fetch;
  window.fetch = async (...args) => {
    const counts = String(args[0]).includes("/api/beat") ? 0 : 1;
    watch.pending += counts;
    try {
      return await fetch(...args);
    } finally {
      watch.pending -= counts;
    }
  };
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  watch.drawn = async (revision, patience_ms) => {            // this snapshot is on the display, and has settled
    const until = performance.now() + patience_ms;
    while (watch.seen < revision || watch.pending) {
      if (performance.now() > until) return false;
      await frame();
    }
    await document.fonts.ready;
    for (let i = 0; i < 2; i++) await frame();
    return true;
  };
})();
