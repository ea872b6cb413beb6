// The line to the agent: whole snapshots come (server-sent events), presses and heartbeats go.

export const SILENCE_MS = 3000;   // the agent says something each second
const BEAT_MS = 1000;

/** The token that lets press; behind it, in the display's own browser, this page's id. */
const [token, page = ""] = decodeURIComponent(location.hash.slice(1)).split(".");

/** Whether this page may press: it has shown this boot's token, and holds a cookie that no script sees. */
export const may = { press: false };

/** The line is there, and who answers at its other end knows our cookie. */
let is_in = false;

/** True: taken. Never throws: without an agent there is nobody to tell. */
export async function post(path, body) {
  try {
    const answer = await fetch(path, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
    });
    return answer.ok;
  } catch {
    return false;
  }
}

async function enter() {
  if (token) may.press = await post("/api/session", { token });
}

/** How large the display is, in pixels and in millimetres. */
export async function profile() {
  await enter();
  try {
    const display = await (await fetch("/api/profile")).json();
    may.press = display.may_press;
    return display;
  } catch {
    return { width_px: 800, height_px: 480, width_mm: 154 };
  }
}

/** `heard({screen}, id)` at each snapshot; `silent(true)` when the line drops, which on loopback is the end of the agent,
 * or after SILENCE_MS without a word; `silent(false)` at the next snapshot, and not before: what stands on the page till
 * then is of a run that is over. */
export function listen(heard, silent) {
  let events = null, watchdog = 0;

  function alive() {
    clearTimeout(watchdog);
    watchdog = setTimeout(lost, SILENCE_MS);
  }

  function lost() {
    silent(true);
    is_in = false;
    events.close();
    connect();
  }

  function connect() {
    events = new EventSource("/events");
    events.onopen = async () => { await enter(); is_in = true; };    // a new run knows no cookie of the one before
    events.onerror = () => { is_in = false; silent(true); };
    events.onmessage = (message) => {
      heard(JSON.parse(message.data), Number(message.lastEventId));
      silent(false);
      alive();
    };
    events.addEventListener("alive", alive);
    alive();
  }

  connect();
}

/** Each second what `say()` returns, so that the agent knows what is really on the display; nothing, if it says null,
 * nor before the line is there: a run of the agent that has just begun would refuse it. */
export function beat(say) {
  setInterval(() => {
    const said = say();
    if (said && may.press && is_in) post("/api/beat", { ...said, page });
  }, BEAT_MS);
}
