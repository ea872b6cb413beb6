// The four layouts of agent/ui/model.py. Every word and every decision comes from there.
import { html, Component } from "/vendor/htm-preact-3.1.1.mjs";
import { Blocks } from "./blocks.mjs";
import { Film } from "./film.mjs";
import { Paged, fit } from "./fit.mjs";
import { Glyph } from "./icons.mjs";

// What a card leaves out where it is too small, one after the other: the steps of [data-fit] in style.css. Who charges
// reads figures, who waits reads why.
const CHARGES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], WAITS = [0, 1, 2, 3, 4, 5, 7, 10, 8, 11, 6, 12, 9, 13];

const LONG = 9;                   // characters of a figure that are drawn large

const mark = (port) => (port.ready ? "passed" : port.self_test === "running" ? "running" : "failed");
const TONES = { passed: "free", running: "wait", failed: "fault" };

// -- idle -------------------------------------------------------------------------------------------------------------

function Idle({ screen, act, size }) {
  return html`<section class="idle">
    <div class="how">${screen.awake && html`<${Film} how=${screen.how} label=${screen.words.video}/>`}</div>
    <ul class="checks" dir="ltr">${screen.ports.map((port) => html`<${Check} key=${port.evse_id} port=${port} act=${act}/>`)}</ul>
    <${Paged} key_=${screen.language} goes_on turned=${screen.turns ? undefined : screen.turned} told=${act.measured}>
      <h2>${screen.headline}</h2>
      <p class="price" dir="auto">${screen.price}</p>
      ${facts(screen).map((text) => html`<p key=${text}>${text}</p>`)}
      ${size === "compact" && html`<p>${screen.title}</p>`}
      ${screen.messages.map((m) => html`<p key=${m.where + m.code} class="message"><b>${m.where}</b> <span class="log">${m.code}</span> ${m.text} ${m.fix}</p>`)}
    </${Paged}>
  </section>`;
}

/** The green check mark of each port (I3); its name is a button where there are several. */
function Check({ port, act }) {
  return html`<li data-tone=${TONES[mark(port)]} dir=${act.direction}>
    <button type="button" aria-label=${`${port.name}: ${port.check}`} onClick=${() => act.port(port.evse_id)}>
      <b class="number">${port.evse_id}</b><${Glyph} name=${mark(port)}/></button></li>`;
}

function facts(screen) {
  const { note, who, start_text, support, link_text, store_text } = screen;
  return [note, who, start_text, support, screen.link === "up" ? "" : link_text, screen.store_ok ? "" : store_text].filter(Boolean);
}

// -- ports ------------------------------------------------------------------------------------------------------------

function Ports({ screen, act, size }) {
  const one = size === "compact" && screen.ports.length > 1;
  const ports = one ? screen.ports.filter((port) => port.evse_id === screen.focus) : screen.ports;
  return html`<section class="ports" data-count=${ports.length}>
    ${one && html`<${Chips} screen=${screen} now=${screen.focus} act=${act}/>`}
    <div class="cards" dir="ltr">${ports.map((port) => html`<${Card} key=${port.evse_id} port=${port} act=${act} size=${size}/>`)}</div>
  </section>`;
}

/** A button for each port, as they stand in reality. */
function Chips({ screen, now, act }) {
  return html`<ul class="chips" dir="ltr">${screen.ports.map((port) => html`<li key=${port.evse_id} data-tone=${port.tone}>
    <button type="button" aria-label=${`${port.name}: ${port.title}`} aria-current=${port.evse_id === now || undefined} onClick=${() => act.port(port.evse_id)}>
      <b class="number">${port.evse_id}</b><${Glyph} name=${port.tone}/></button></li>`)}</ul>`;
}

class Card extends Component {
  componentDidMount() { this.fit(); }
  componentDidUpdate() { this.fit(); }
  fit() {                                                  // what is paged in it has another size then
    const { tone, also } = this.props.port;
    if (fit(this.dom, tone === "charging" && !also ? CHARGES : WAITS)) this.forceUpdate();
  }

  render({ port, act, size }) {
    const turns = size === "compact" && (port.tone !== "charging" || port.also);    // all of it, one after the other
    const kept = port.offers ? "" : port.also || (port.tone !== "charging" && port.text);    // where the text is left out
    return html`<article class="card" data-tone=${port.tone} dir=${act.direction} ref=${(dom) => { this.dom = dom; }}>
      <button type="button" class="choose" aria-label=${`${port.name}: ${port.title}`} onClick=${() => act.port(port.evse_id)}/>
      <p class="name"><span>${port.name}</span> <${Mark} port=${port}/></p>
      <h2><${Glyph} name=${port.tone}/><span data-squeeze data-line>${port.title}</span></h2>
      ${turns ? html`<${Turned} port=${port}/>` : html`
        <${Figures} figures=${port.figures}/>
        ${port.offers
          ? html`<${Paged} key_=${port.title}><p class="price" dir="auto">${port.price}</p>${port.text && html`<p>${port.text}</p>`}</${Paged}>`
          : port.text && html`<p class="text">${port.text}</p>`}
        ${kept && html`<div class="also"><${Paged} key_=${port.title}><p>${kept}</p></${Paged}></div>`}
        ${port.action && html`<p class="action">${port.action}</p>`}`}
      ${!turns && port.faults.map((each) => html`<p class="fix" key=${each.fault}><b>${each.mrec ?? each.fault}</b> ${each.fix}</p>`)}
      ${!turns && port.last_text && html`<p class="last">${port.last_text}</p>`}
    </article>`;
  }
}

/** Where there is little room: what is to be done comes before why. */
function Turned({ port }) {
  const action = port.action && html`<p class="action">${port.action}</p>`;
  return html`<${Paged} key_=${port.title}>
    <${Figures} figures=${port.figures}/>
    ${port.also && !port.offers ? html`<p>${port.also}</p>${action}` : action}
    ${port.offers && html`<p class="price" dir="auto">${port.price}</p>`}
    ${(port.offers || !port.also) && port.text && html`<p>${port.text}</p>`}
  </${Paged}>`;
}

function Mark({ port }) {
  return html`<span class="mark" data-tone=${TONES[mark(port)]}><${Glyph} name=${mark(port)}/><span class="check">${port.check.replace(/^\S\s+/, "")}</span></span>`;
}

function Figures({ figures }) {
  if (!figures.length) return null;
  return html`<dl class="figures">${figures.map((f) => html`<div key=${f.name} class="figure" data-name=${f.name} data-long=${f.value.length > LONG || undefined}>
    <dt>${f.unit}</dt><dd dir="ltr">${f.value}</dd></div>`)}</dl>`;
}

// -- port -------------------------------------------------------------------------------------------------------------

function Port({ screen, act, size }) {
  const port = screen.ports.find((each) => each.evse_id === screen.evse_id) ?? screen.ports[0];
  const action = port.action && html`<p class="action">${port.action}</p>`;    // where there is little room, that first
  return html`<section class="one card" data-tone=${port.tone}>
    <p class="name"><span>${port.name}</span> <${Mark} port=${port}/></p>
    <${Paged} key_=${`${port.evse_id}${screen.language}`} turned=${screen.turned} told=${act.measured}>
      <h2><b class="number">${port.evse_id}</b><${Glyph} name=${port.tone}/><span data-squeeze data-line>${port.title}</span></h2>
      <${Figures} figures=${port.figures}/>
      ${size === "compact" && action}
      ${port.text && html`<p class="text">${port.text}</p>`}
      ${size !== "compact" && action}
      ${port.price && html`<p class="price">${port.price}</p>`}
      ${port.faults.map((each) => html`<p class="fix" key=${each.fault}><b>${each.mrec ?? each.fault}</b> ${each.fix}</p>`)}
      ${port.last_text && html`<p class="last">${port.last_text}</p>`}
    </${Paged}>
  </section>`;
}

// -- page -------------------------------------------------------------------------------------------------------------

function Page({ screen, act, size }) {
  const { content } = screen;
  if (!content) return null;
  return html`<section class="page">
    <${Paged} key_=${`${screen.page}${content.title}${content.step}${screen.language}`} turned=${screen.turned} told=${act.measured}>
      <${Blocks} blocks=${content.blocks} act=${act}/>
    </${Paged}>
    ${content.footer && size !== "compact" && html`<p class="footer">${content.footer}</p>`}
  </section>`;
}

// -- what is said to who has just tapped, over all of them ---------------------------------------------------------------

export function Notices({ screen, act, size }) {
  const turns = size === "compact" && screen.large;        // the title too, or hardly a line is left for the words
  const said = screen.ports.filter((port) => port.notice).map((port) => ({ ...port.notice, where: port.name, id: port.evse_id }));
  const all = screen.notice ? [{ ...screen.notice, where: "", id: 0 }, ...said] : said;
  const head = (notice) => html`<h2><${Glyph} name=${notice.tone}/><span data-squeeze data-line>${notice.where && html`<b>${notice.where}</b> `}${notice.title}</span></h2>`;
  return html`<div class="notices" role="alert">${all.map((notice) => html`<section key=${notice.id} class="notice" data-tone=${notice.tone}>
    ${!turns && head(notice)}
    <${Paged} key_=${notice.text} within=${notice.stands_s * 1000}>
      ${turns && head(notice)}
      <p class="text">${notice.text}</p><p class="action">${notice.action}</p>
      ${notice.code && html`<p class="support">${screen.support} <span class="log">${notice.code}</span></p>`}
    </${Paged}>
    ${notice.id === 0 && notice.led === "ask" && screen.ports.length > 1 && html`<${Chips} screen=${screen} act=${act}/>`}</section>`)}</div>`;
}

export const LAYOUTS = { idle: Idle, ports: Ports, port: Port, page: Page };
