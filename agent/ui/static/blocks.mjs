// What a page is made of (agent/ui/model.py, Block), one function each.
import { html, Component } from "/vendor/htm-preact-3.1.1.mjs";
import { still } from "./film.mjs";
import { Code, Glyph, Scene } from "./icons.mjs";
import { MapView } from "./map.mjs";

function Rows({ rows }) {
  return html`<dl class="rows">${rows.map((row, i) => html`<div key=${i} class="row" data-mark=${row.mark}>
    <dt>${row.label}</dt><dd>${row.mark && html`<${Glyph} name=${row.mark}/>`}<span dir="auto">${row.value}</span></dd></div>`)}</dl>`;
}

function Prose({ text, style }) {
  return html`<p class="prose" data-style=${style}>${text}</p>`;
}

function Steps({ steps }) {
  return html`<ol class="steps">${steps.map(([scene, text], i) => html`<li key=${i}>
    <${Scene} name=${scene}/><span class="caption"><b>${i + 1}</b> ${text}</span></li>`)}</ol>`;
}

function Lights({ rows }) {
  return html`<ul class="lights">${rows.map(([light, meaning, colour, rhythm]) => html`<li key=${light}>
    <${Blinking} colour=${colour} rhythm=${rhythm}/><span>${meaning}</span></li>`)}</ul>`;
}

/** A light in its own rhythm (on, off, on … seconds), and beside it the rhythm as a strip, for who does not see it blink. */
class Blinking extends Component {
  componentDidMount() { this.beat(); }
  componentDidUpdate(before) { if (String(before.rhythm) !== String(this.props.rhythm)) this.beat(); }
  componentWillUnmount() { this.animation?.cancel(); }

  beat() {
    const { rhythm } = this.props;
    this.animation?.cancel();
    const total = rhythm.reduce((sum, s) => sum + s, 0);
    if (!total || still.matches) return;
    const frames = [];
    for (const [on, from, to] of spans(rhythm)) {
      const opacity = on ? 1 : 0.12;
      frames.push({ opacity, offset: from / total }, { opacity, offset: to / total });
    }
    this.animation = this.lamp.animate(frames, { duration: total * 1000, iterations: Infinity });
    this.animation.startTime = 0;                    // all lights of a kind beat together
  }

  render({ colour, rhythm }) {
    const total = rhythm.reduce((sum, s) => sum + s, 0);
    const lit = total ? [...spans(rhythm)].filter(([on]) => on) : [[true, 0, 1]];
    return html`<span class="lamp" data-colour=${colour} ref=${(dom) => { this.lamp = dom; }}/>
      <svg class="strip" data-colour=${colour} viewBox="0 0 40 8" preserveAspectRatio="none" aria-hidden="true"><path class="ground" d="M0 7.5h40"/>${lit.map(([, from, to]) =>
        html`<rect x=${(40 * from) / (total || 1)} y="1" width=${(40 * (to - from)) / (total || 1)} height="6"/>`)}</svg>`;
  }
}

/** [is on, from, to] of one round, in seconds. */
function* spans(rhythm) {
  let from = 0;
  for (let i = 0; i < rhythm.length; i++) {
    yield [i % 2 === 0, from, from + rhythm[i]];
    from += rhythm[i];
  }
}

const OPTIONS_MAX = 4;    // more are on a page of their own

function Field(field, { enter, post }) {
  const marks = { "data-chosen": field.chosen || undefined, "data-editing": field.editing || undefined, "data-wrong": Boolean(field.error) || undefined };
  return html`<div class="field" ...${marks} role="group" aria-label=${field.label}>
    <span class="label">${field.label}</span>
    ${field.kind === "choice" && field.options.length <= OPTIONS_MAX ? html`<${Choice} field=${field} post=${post}/>` : html`<${Value} field=${field} enter=${enter} post=${post}/>`}
    ${field.error ? html`<span class="error" role="alert">${field.error}</span>` : field.hint && html`<span class="hint">${field.hint}</span>`}
  </div>`;
}

function Choice({ field, post }) {
  return html`<span class="options">${field.options.map((option) => html`<button type="button" key=${option.value} class="option" data-chosen=${(field.chosen && option.value === field.value) || undefined}
    aria-pressed=${option.value === field.value} onClick=${() => post(field.name, option.value)}><span data-squeeze>${option.label}</span></button>`)}</span>`;
}

function Value({ field, enter, post }) {
  const is_yes = field.kind === "yes", is_on = field.value === "yes";
  const press = is_yes ? () => post(field.name, is_on ? "no" : "yes") : () => enter(field);
  return html`<button type="button" class="value" aria-pressed=${is_yes ? is_on : undefined} onClick=${press}>
    ${is_yes && html`<${Glyph} name=${is_on ? "passed" : "open"}/>`}<span dir="auto">${field.shown || "–"}</span>${field.unit && !is_yes && !field.shown.includes(field.unit) && html` <span class="unit">${field.unit}</span>`}</button>`;
}

function Qr({ rows, text }) {
  return html`<figure class="qr">${rows?.length > 0 && html`<${Code} rows=${rows} label=${text}/>`}<figcaption dir="auto">${text}</figcaption></figure>`;
}

const KINDS = {
  rows: Rows, prose: Prose, steps: Steps, lights: Lights, field: Field, qr: Qr,
  map: (map, { post }) => html`<${MapView} map=${map} post=${post}/>`,
};

/** `act`: {enter(field), post(name, value)}. */
export function Blocks({ blocks, act }) {
  return blocks.map((block, i) => html`<div class="block" key=${`${i}${block.type}${block.name ?? ""}`}>${KINDS[block.type]?.(block, act)}</div>`);
}
