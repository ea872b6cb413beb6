// Glyphs and scenes, drawn. A glyph says the same as its colour and its word; a scene shows a step to who cannot read.
import { html } from "/vendor/htm-preact-3.1.1.mjs";

const GLYPHS = {
  free: html`<circle cx="12" cy="12" r="10" class="fill"/><path d="M6.5 12.5l4 4 7-8.5" class="cut"/>`,
  charging: html`<rect x="2" y="3" width="20" height="18" rx="4" class="fill"/><path d="M13.5 4.5l-7 9h4.5l-1 6 7.5-9.5H13z" class="hole"/>`,
  wait: html`<path d="M5 2h14M5 22h14" class="line"/><path d="M6.5 3v3.5L11 12l-4.5 5.5V21h11v-3.5L13 12l4.5-5.5V3z" class="fill"/>`,
  fault: html`<path d="M7.5 1.5h9l6 6v9l-6 6h-9l-6-6v-9z" class="fill"/><path d="M8 8l8 8M16 8l-8 8" class="cut"/>`,
  up: html`<path d="M4 20v-4M10 20v-8M16 20V8M22 20V4" class="line"/>`,
  doubt: html`<path d="M4 20v-4M10 20v-8" class="line"/><path d="M19 4v8M19 17v3" class="line"/>`,
  down: html`<path d="M4 20v-4M10 20v-8M16 20V8M22 20V4" class="line faint"/><path d="M3 3l18 18" class="line"/>`,
  passed: html`<path d="M3 12.5l6 6L21 5" class="line"/>`,
  failed: html`<path d="M4 4l16 16M20 4L4 20" class="line"/>`,
  running: html`<path d="M5 2h14M5 22h14" class="line"/><path d="M7 3c0 5 3 6 5 9-2 3-5 4-5 9h10c0-5-3-6-5-9 2-3 5-4 5-9z" class="line"/>`,
  open: html`<circle cx="12" cy="12" r="8.5" class="line"/>`,
  delete: html`<path d="M8 5h14v14H8l-6-7z" class="line"/><path d="M12 9l6 6M18 9l-6 6" class="line"/>`,
  capitals: html`<path d="M12 3l9 10h-5v8H8v-8H3z" class="line"/>`,
  space: html`<path d="M3 13v5h18v-5" class="line"/>`,
  cancel: html`<path d="M4 4l16 16M20 4L4 20" class="line"/>`,
  done: html`<path d="M3 12.5l6 6L21 5" class="line"/>`,
};

// Of a modem's signal, 0 to 4: the same bars as `up`, faint where the signal does not reach.
const BARS = ["M4 20v-4", "M10 20v-8", "M16 20V8", "M22 20V4"];
for (let n = 0; n <= BARS.length; n++) {
  GLYPHS[`bars${n}`] = BARS.map((bar, i) => html`<path key=${bar} d=${bar} class=${i < n ? "line" : "line faint"}/>`);
}

/** Decoration: the word beside it is what a screen reader reads; `label` where there is none. */
export function Glyph({ name, label }) {
  const said = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return html`<svg class="glyph" viewBox="0 0 24 24" ...${said}>${GLYPHS[name] ?? GLYPHS.open}</svg>`;
}

// -- scenes: 120 × 80. What moves has a class of style.css. ------------------------------------------------------------

const station = html`<rect x="6" y="12" width="26" height="56" rx="4" class="body"/><rect x="10" y="17" width="18" height="14" rx="1.5" class="glass"/><path d="M2 70h116" class="ground"/>`;
const car = html`<path d="M56 60c-3 0-4-2-4-5v-8c0-4 2-6 5-7l6-2 8-11c1-2 3-3 6-3h16c3 0 5 1 7 3l8 11 5 2c3 1 4 3 4 6v9c0 3-1 5-4 5z" class="body"/><path d="M70 38l6-9c1-1 2-2 4-2h5v11zM89 38V27h4c2 0 3 1 4 2l6 9z" class="glass"/><circle cx="68" cy="61" r="7" class="wheel"/><circle cx="102" cy="61" r="7" class="wheel"/>`;
const cable = html`<path d="M32 46c8 0 4 16 12 16s4-14 10-14" class="cable"/>`;
const plug = html`<path d="M44 44h8v8h-8zM52 46h4M52 50h4" class="plug"/>`;

const SCENES = {
  plug: html`${station}${car}<g class="comes">${cable}${plug}</g>`,
  tap: html`${station}<path d="M14 44a6 6 0 0 1 10 0M11.5 40a10 10 0 0 1 15 0" class="wave"/><g class="taps"><rect x="46" y="34" width="40" height="26" rx="3" class="pass"/><path d="M46 42h40" class="stripe"/><path d="M52 52h14" class="line"/><path d="M78 58l16 14 14-4-6-20-12-10" class="hand"/></g>`,
  charge: html`${station}${car}${cable}${plug}<path d="M84 43l-8 11h6l-2 9 9-12h-6z" class="bolt"/><path d="M12 21h14M12 26h9" class="wave"/>`,
  unplug: html`${station}${car}<g class="goes">${cable}${plug}</g>`,
  screen: html`<rect x="22" y="10" width="76" height="48" rx="4" class="body"/><rect x="28" y="16" width="64" height="36" rx="2" class="glass"/><path d="M34 26h40M34 34h50M34 42h28" class="wave reads"/><path d="M40 70h40M60 58v12" class="ground"/>`,
  breaker: html`<rect x="36" y="6" width="48" height="68" rx="4" class="body"/><path d="M60 14v6M60 60v6" class="ground"/><g class="flips"><rect x="50" y="24" width="20" height="32" rx="3" class="glass"/><rect x="53" y="27" width="14" height="12" rx="2" class="knob"/></g>`,
  phone: html`<rect x="44" y="6" width="32" height="66" rx="5" class="body"/><rect x="48" y="14" width="24" height="46" rx="1" class="glass"/><circle cx="60" cy="66" r="2.5" class="knob"/><path d="M82 26a14 14 0 0 1 0 24M88 20a22 22 0 0 1 0 36" class="wave rings"/>`,
};

export function Scene({ name }) {
  return html`<svg class="scene" viewBox="0 0 120 80" aria-hidden="true">${SCENES[name] ?? SCENES.screen}</svg>`;
}

/** A QR code from its rows of 0 and 1, white border included. */
export function Code({ rows, label }) {
  const n = rows.length;
  const dark = rows.flatMap((row, y) => [...row.matchAll(/1+/g)].map((run) => `M${run.index} ${y}h${run[0].length}v1h-${run[0].length}z`));
  return html`<svg class="code" viewBox="0 0 ${n} ${n}" role="img" aria-label=${label} shape-rendering="crispEdges">
    <rect width=${n} height=${n} class="white"/><path d=${dark.join("")}/></svg>`;
}
