// The wizard on the installer's phone: the page of the station's ScreenModel, its fields, on and back. Who is not in yet
// is asked for the code; every word comes from the station.
import { html, render } from "/vendor/htm-preact-3.1.1.mjs";
import { Blocks } from "./blocks.mjs";

const SILENCE_MS = 5000;          // the station says something each second
const AGAIN_MS = 2000;
const ONWARD = new Set(["continue", "skip", "do"]);
const TOKEN_MAX_B = 4000;         // a plan token has about 300
const PLACE = "pinpoint";         // the field that a phone's own position answers

const app = document.getElementById("app"), root = document.documentElement;
let language = "", words = {}, languages = {}, screen = null, events = null, watchdog = 0;
let wrong = "", isSilent = false, typing = null, brought = null;

// The token is in the fragment, which no browser sends; nor does it stay in the address, where somebody reads it later.
const token = decodeURIComponent(location.hash.slice(1));
history.replaceState(null, "", location.pathname);

// -- the line to the station ----------------------------------------------------------------------------------------------

async function sent(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  if (answer.status !== 429) return answer;
  await new Promise((resolve) => setTimeout(resolve, 200));
  return sent(path, body);
}

async function post(name, value) {
  try {
    await sent("/api/field", { name, value: String(value) });
  } catch {
    silent();
  }
}

/** A plan token; the station's answer is in the reader's language. */
async function bring(text) {
  brought = { text: "…" };
  draw();
  try {
    const answer = await sent(`/api/plan?language=${language}`, { token: text });
    brought = answer.ok ? await answer.json() : { text: answer.status < 500 ? words.strange : words.lost };
  } catch {
    brought = { text: words.lost };
  }
  draw();
}

/** The page's own words, and whether this phone is in. */
async function asked() {
  const answer = await (await fetch(`/api/words?language=${language}`)).json();
  ({ words, languages } = answer);
  language = words.language;
  root.lang = language;
  root.dir = words.direction;
  document.title = words.title;
  return answer.guest;
}

async function enter(secret) {
  const answer = await sent("/api/enter", { secret });
  if (answer.ok) return listen();
  wrong = (await answer.text()).startsWith("closed") ? words.closed : words.wrong;
  draw();
}

function listen() {
  wrong = "";
  events?.close();
  events = new EventSource(`/events?language=${language}`);
  events.onmessage = (message) => { ({ screen } = JSON.parse(message.data)); heard(); };
  events.addEventListener("alive", heard);
  events.onerror = () => { if (events.readyState === EventSource.CLOSED) setTimeout(again, AGAIN_MS); };
  watch();
}

/** The line was refused: the door has been closed, or opened anew with another code. */
async function again() {
  try {
    if (await asked()) return listen();
    [screen, wrong, isSilent] = [null, words.closed, false];
    clearTimeout(watchdog);
    draw();
  } catch {
    silent();
    setTimeout(again, AGAIN_MS);
  }
}

function heard() {
  isSilent = false;
  watch();
  draw();
}

function watch() {
  clearTimeout(watchdog);
  watchdog = setTimeout(silent, SILENCE_MS);
}

function silent() {
  isSilent = true;
  draw();
}

async function speak(code) {
  language = code;
  const isIn = await asked();
  draw();
  if (isIn) listen();
}

// -- what is drawn --------------------------------------------------------------------------------------------------------

const act = { post, enter: (field) => { typing = field; draw(); }, get direction() { return screen.direction; } };

function Top({ title, step }) {
  return html`<header class="top"><h1>${title}</h1>${step && html`<span dir="ltr">${step}</span>`}
    <select aria-label=${words.choose} value=${language} onChange=${(event) => speak(event.target.value)}>
      ${Object.entries(languages).map(([code, name]) => html`<option value=${code} key=${code}>${name}</option>`)}</select></header>`;
}

function Enter() {
  const go = (event) => { event.preventDefault(); enter(event.target.elements.code.value.replace(/\s/g, "")); };
  return html`<${Top} title=${words.title}/><main><form class="enter" onSubmit=${go}>
    <p>${words.ask}</p>
    <label>${words.code}<input name="code" inputmode="numeric" autocomplete="one-time-code" maxlength="9" required/></label>
    <button>${words.enter}</button>
    <p class="wrong" role="alert">${wrong}</p></form></main>`;
}

function Page() {
  const { content, keys } = screen;
  const [back, , , onward] = keys;
  const place = content.blocks.find((block) => block.type === "field" && block.name === PLACE);
  return html`<${Top} title=${content.title} step=${content.steps ? `${content.step}/${content.steps}` : ""}/>
    <main>${place && navigator.geolocation && html`<button type="button" onClick=${here}>${words.here}</button>`}
      <${Blocks} blocks=${content.blocks} act=${act}/>
      <p class="wrong" role="alert">${wrong}</p><${Plan}/></main>
    ${content.footer && html`<footer class="footer">${content.footer}</footer>`}
    <nav class="ways">
      ${back.action === "back" && html`<button type="button" onClick=${() => post("step", "back")}>${back.label}</button>`}
      ${ONWARD.has(onward.action) && html`<button type="button" class="onward" onClick=${() => post("step", "next")}>${onward.label}</button>`}
      ${onward.action === "save" && html`<p>${words.confirm}</p>`}
    </nav>`;
}

/** For a station whose cloud cannot be reached, or whose plan has ended. */
function Plan() {
  const give = (event) => { event.preventDefault(); bring(event.target.elements.token.value); };
  const chosen = async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file && file.size <= TOKEN_MAX_B) return bring(await file.text());
    if (file) brought = { text: words.strange };
    return draw();
  };
  return html`<details class="plan"><summary>${words.plan}</summary><form onSubmit=${give}>
    <label>${words.paste}<textarea name="token" dir="ltr" rows="4" maxlength=${TOKEN_MAX_B} spellcheck="false" autocomplete="off" required></textarea></label>
    <input type="file" aria-label=${words.paste} onChange=${chosen}/>
    <button>${words.give}</button>
    <p class=${brought?.taken ? "taken" : "wrong"} role="status">${brought?.text}</p></form></details>`;
}

function here() {
  navigator.geolocation.getCurrentPosition(
    ({ coords }) => { wrong = ""; post(PLACE, `geo:${coords.latitude},${coords.longitude};u=${Math.ceil(coords.accuracy)}`); },
    () => { wrong = words.nowhere; draw(); },
    { enableHighAccuracy: true, timeout: 20000, maximumAge: 0 },
  );
}

/** One of many, or a value to be typed. */
function Typing({ field }) {
  if (field.kind === "choice") return html`<div class="typing" role="dialog" aria-modal="true" aria-label=${field.label}>
    <h2>${field.label}</h2>
    ${field.options.map((option) => html`<button type="button" key=${option.value} aria-pressed=${option.value === field.value}
      onClick=${() => { typing = null; post(field.name, option.value); draw(); }}>${option.label}</button>`)}
    <nav class="ways"><button type="button" onClick=${() => { typing = null; draw(); }}>${words.cancel}</button></nav></div>`;
  const done = (event) => { event.preventDefault(); typing = null; post(field.name, event.target.elements.value.value); draw(); };
  const most = field.kind === "text" ? field.length_max || undefined : undefined;
  return html`<form class="typing" role="dialog" aria-modal="true" aria-label=${field.label} onSubmit=${done}>
    <label>${field.label} ${field.unit && `(${field.unit})`}
      <input name="value" dir="auto" defaultValue=${field.value} maxlength=${most} inputmode=${field.kind === "number" ? "decimal" : "text"} autofocus/></label>
    ${field.hint && html`<p class="soft">${field.hint}</p>`}
    <nav class="ways"><button type="button" onClick=${() => { typing = null; draw(); }}>${words.cancel}</button><button class="onward">${words.save}</button></nav></form>`;
}

function draw() {
  const isPage = Boolean(screen?.content);
  if (isPage) [root.lang, root.dir] = [screen.language, screen.direction];
  render(html`${isPage ? html`<${Page}/>` : html`<${Enter}/>`}
    ${isPage && typing && html`<${Typing} key=${typing.name} field=${typing}/>`}
    ${isSilent && html`<div class="cover" role="alert"><p>${words.lost}</p></div>`}`, app);
}

const isIn = await asked();
draw();
if (isIn) listen();
else if (token) await enter(token);
