// The station's screen: draws the newest ScreenModel (agent/ui/model.py), tells what is pressed, and what it has drawn.
import { html, render } from "/vendor/htm-preact-3.1.1.mjs";
import { film } from "./film.mjs";
import { Paged, measure_anew, spread, squeeze } from "./fit.mjs";
import { Glyph } from "./icons.mjs";
import { LAYOUTS, Notices } from "./layouts.mjs";
import { Choosing, Typing } from "./typing.mjs";
import { beat, listen, may, post, profile } from "./station.mjs";

const SOFT_KEYS = { 1: 1, 2: 2, 3: 3, 4: 4, F1: 1, F2: 2, F3: 3, F4: 4 };
const LARGE = 1.27;               // 0.7 degrees of arc at half a metre (EN 301 549, 5.1.4)
const COMPACT_MM = 120, WIDE_MM = 180, FLAT_MM = 70;
const TOUCHED_MS = 5000;          // at most so often it is said that somebody is there
const TOLD_MAX = 8;               // of one page
const LOOK_S = 5;                 // so long it is said that this page may not press

const app = document.getElementById("app"), root = document.documentElement;
let screen = null, isSilent = false, drawn = 0, typing = null, looking = 0, display, software = "";
let size = "medium", place = "", told = 0, touchedAt = -TOUCHED_MS;

// -- what is pressed ------------------------------------------------------------------------------------------------------

function press(path, body) {
  if (may.press) return post(path, body);
  clearTimeout(looking);
  looking = setTimeout(() => { looking = 0; draw(); }, LOOK_S * 1000);
  draw();
}

const act = {
  get direction() { return screen.direction; },
  key: (n) => screen && press("/api/key", { key: n, action: screen.keys[n - 1]?.action ?? "" }),
  port: (evse_id) => press("/api/port", { evse_id }),
  post: (name, value) => press("/api/field", { name, value: String(value) }),
  enter: (field) => { typing = field; draw(); },
  /** How many screenfuls this page has here: two displays that differ quarrel only so long. */
  measured: (screenfuls) => {
    if (screenfuls === screen.screenfuls || told >= TOLD_MAX || !may.press) return;
    told++;
    post("/api/measured", { screenfuls });
  },
};

function entered(value) {
  const field = typing;
  typing = null;
  if (value !== undefined) act.post(field.name, value);
  draw();
}

/** Somebody is there, and may be busy with what stays on this page: the station waits for him. */
function touched() {
  const now = performance.now();
  if (now - touchedAt < TOUCHED_MS || !may.press || isSilent) return;
  touchedAt = now;
  post("/api/touched", {});
}

addEventListener("pointerdown", touched, { capture: true, passive: true });
addEventListener("keydown", touched, { capture: true, passive: true });
addEventListener("keydown", (event) => {
  const n = SOFT_KEYS[event.key];
  if (!n || event.target.matches?.("input, textarea") || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  event.preventDefault();
  act.key(n);
});

// -- what is drawn --------------------------------------------------------------------------------------------------------

function Bar() {
  const { content, layout } = screen;
  const step = content?.steps ? `${content.step}/${content.steps}` : "";
  const isPage = layout === "page" && content;
  const title = isPage ? content.title : screen.title;
  const isHidden = size === "compact" && !isPage;     // there it is among the facts, and everywhere the page's name
  return html`<header class="bar">
    ${isHidden ? html`<h1 aria-label=${title}/>` : size === "compact" && content?.footer
      ? html`<${Paged} key_=${title}><h1>${title}</h1><p class="footer">${content.footer}</p></${Paged}>`
      : html`<h1><span data-squeeze data-line>${title}</span></h1>`}
    ${isPage && html`<span class="station">${screen.title}</span>`}
    ${step && html`<span class="step" dir="ltr">${step}</span>`}
    <span class="link" data-link=${screen.link}><${Glyph} name=${signal()} label=${screen.link_text}/></span>
  </header>`;
}

/** What the connection looks like: over a modem, with its signal. */
function signal() {
  return screen.link === "up" && screen.bars != null ? `bars${screen.bars}` : screen.link;
}

function Keys() {
  return html`<nav class="keys" dir="ltr">${screen.keys.map((key, i) => html`<button type="button" key=${i} disabled=${!key.label}
    onClick=${() => act.key(i + 1)}><span dir="auto">${key.label}</span></button>`)}</nav>`;
}

function Screen() {
  const Layout = LAYOUTS[screen.layout];
  const status = looking ? screen.words.look : screen.leaving_text || (size !== "compact" && screen.installer);
  const isCovered = isSilent || !screen.awake || Boolean(typing);
  return html`<div class="screen" data-layout=${screen.layout} data-page=${screen.page} inert=${isCovered}>
      <${Bar}/>
      <main><${Layout} screen=${screen} act=${act} size=${size}/><${Notices} screen=${screen} act=${act} size=${size}/></main>
      <p class="leaving" role="status">${status && html`<span data-squeeze data-line>${status}</span>`}</p>
      <${Keys}/>
    </div>
    ${typing && html`<${typing.kind === "choice" ? Choosing : Typing} key=${typing.name} field=${typing} words=${screen.words} done=${entered} cancel=${() => entered()}/>`}
    ${!screen.awake && html`<button type="button" class="dark" aria-label=${screen.words.dark} onClick=${() => act.key(1)}/>`}
    ${isSilent && html`<div class="cover" role="alert"><${Glyph} name="wait"/><p>${screen.words.lost}</p></div>`}`;
}

function draw() {
  if (!screen) return;
  if (typing && !screen.content?.blocks.some((block) => block.type === "field" && block.name === typing.name)) typing = null;
  const now = [screen.page, screen.evse_id, screen.content?.title ?? screen.headline, screen.language, screen.large].join("\n");
  if (now !== place) [place, told] = [now, 0];
  resize();
  root.lang = screen.language;
  root.dir = screen.direction;
  if (document.title !== screen.title) document.title = screen.title;
  for (let room = 0, look = 0; look < 2; look++) {    // a title that was narrowed leaves more room: once more
    render(html`<${Screen}/>`, app);
    squeeze(app);
    spread(app.querySelector(".keys"));
    const now = app.querySelector("main").clientHeight;
    if (now === room) break;
    room = now;
  }
}

/** Millimetres: of the display as its profile says; a window of another size is drawn as if it were that display. */
function resize() {
  const high_mm = (display.width_mm * display.height_px) / display.width_px;
  const mm = Math.min(app.clientWidth / display.width_mm, app.clientHeight / high_mm);
  const scale = screen.large ? LARGE : 1;
  const wide_mm = app.clientWidth / mm / scale, tall_mm = app.clientHeight / mm / scale;
  size = wide_mm < COMPACT_MM || tall_mm < FLAT_MM ? "compact" : wide_mm < WIDE_MM ? "medium" : "wide";
  if (root.dataset.large !== String(screen.large)) measure_anew();
  root.dataset.size = size;
  root.dataset.large = screen.large;
  root.style.setProperty("--mm", `${mm}px`);
  root.style.setProperty("--scale", scale);
}

// -- what comes -----------------------------------------------------------------------------------------------------------

function heard(news, id) {
  if (software && news.screen.software !== software) return location.reload();   // another build has other pages
  ({ screen } = news);
  software = screen.software;
  draw();
  requestAnimationFrame(() => { drawn = id; });
}

function silent(is) {
  if (is === isSilent) return;
  isSilent = is;
  draw();
}

display = await profile();
app.replaceChildren();
addEventListener("resize", draw);
document.fonts?.addEventListener("loadingdone", () => { measure_anew(); draw(); });
listen(heard, silent);
beat(() => {
  film.look?.();
  return !isSilent && { drawn, frames: film.frames, video: film.video, visible: !document.hidden && Boolean(screen?.awake) };
});
