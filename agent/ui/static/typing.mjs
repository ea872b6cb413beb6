// Typing on the display itself: keys drawn for a finger, and a real keyboard where there is one.
import { html, Component } from "/vendor/htm-preact-3.1.1.mjs";
import { Paged } from "./fit.mjs";
import { Glyph } from "./icons.mjs";

const LETTERS = ["qwertyuiop", "asdfghjkl-", "⇧zxcvbnm.⌫", "#␣@✖✔"];
const SIGNS = ["1234567890", "-/:;()°@+=", "'\"!?,._#⌫", "a␣&%✖✔"];
const DIGITS = ["789⌫", "456-", "123.", "✖0✔"];
const NAMES = { "⌫": "delete", "✖": "cancel", "✔": "done", "␣": "space", "⇧": "capitals" };

const WORDS = { "#": "12#", "a": "abc" };

/** `field` is being entered: `done(value)` or `cancel()`. */
export class Typing extends Component {
  constructor(props) {
    super();
    this.state = { text: props.field.value ?? "", capitals: false, signs: false };
    this.is_untouched = props.field.kind === "number";     // the first digit begins another number
    this.pressed = (event) => this.key(event);
  }

  componentDidMount() {
    addEventListener("keydown", this.pressed, true);
    this.base?.querySelector?.("button")?.focus();
  }

  componentWillUnmount() { removeEventListener("keydown", this.pressed, true); }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { key } = event;
    if (key === "Tab") return;
    event.stopPropagation();
    if (key === "Enter" && event.target.closest?.(".function")) return;   // that one is pressed
    event.preventDefault();
    if (key === "Enter") this.props.done(this.state.text);
    else if (key === "Escape") this.props.cancel();
    else if (key === "Backspace") this.put("⌫");
    else if ([...key].length === 1) this.put(key);
  }

  put(sign) {
    const { field } = this.props, text = this.is_untouched && sign !== "⌫" ? "" : this.state.text;
    this.is_untouched = false;
    if (sign === "⌫") return this.setState({ text: [...text].slice(0, -1).join("") });
    const longest = field.length_max || 100;
    if ([...text].length < longest) this.setState({ text: text + sign, capitals: false });
  }

  touch(sign, is_function) {
    if (is_function) {
      switch (sign) {
        case "✖": return this.props.cancel();
        case "✔": return this.props.done(this.state.text);
        case "⇧": return this.setState({ capitals: !this.state.capitals });
        case "#": return this.setState({ signs: true });
        case "a": return this.setState({ signs: false });
        case "␣": return this.put(" ");
      }
    }
    this.put(this.state.capitals ? sign.toUpperCase() : sign);
  }

  render({ field, words }, { text, capitals, signs }) {
    const is_number = field.kind === "number";
    const rows = is_number ? DIGITS : signs ? SIGNS : LETTERS;
    const bounds = is_number && field.least !== null ? `${field.least}–${field.most} ${field.unit}` : field.unit;
    return html`<div class="typing" role="dialog" aria-modal="true" aria-label=${field.label}>
      <p class="entry"><label>${field.label}</label> <output dir="ltr">${text}<i class="caret"/></output> <span class="soft" dir="ltr">${bounds}</span></p>
      <div class="board" data-kind=${is_number ? "digits" : "letters"} dir="ltr">${rows.map((row, y) => html`<div class="row" key=${y}>${[...row].map((sign, x) => {
        const last = y === rows.length - 1, is_function = "⌫⇧␣✖✔".includes(sign) || (last && x === 0 && !is_number);
        const label = is_function && !WORDS[sign] ? words[NAMES[sign]] : undefined;
        const shown = label ? html`<${Glyph} name=${NAMES[sign]}/>` : is_function ? WORDS[sign] : capitals ? sign.toUpperCase() : sign;
        return html`<button type="button" key=${sign + x} class=${is_function ? "function" : ""} aria-label=${label}
          aria-pressed=${sign === "⇧" ? capitals : undefined} onClick=${() => this.touch(sign, is_function)}>${shown}</button>`;
      })}</div>`)}</div>
    </div>`;
  }
}

/** One of many. */
export class Choosing extends Component {
  constructor() {
    super();
    this.pressed = (event) => {
      if (event.key !== "Tab" && event.key !== "Enter") event.stopPropagation();
      if (event.key === "Escape") this.props.cancel();
    };
  }

  componentDidMount() {
    addEventListener("keydown", this.pressed, true);
    this.dom.querySelector("[aria-pressed=true], button")?.focus();
  }

  componentWillUnmount() { removeEventListener("keydown", this.pressed, true); }

  render({ field, words, done, cancel }) {
    return html`<div class="typing" role="dialog" aria-modal="true" aria-label=${field.label} ref=${(dom) => { this.dom = dom; }}>
      <p class="entry"><span>${field.label}</span></p>
      <${Paged} turned=${0}><ul class="choices">${field.options.map((option) => html`<li key=${option.value} data-chosen=${option.value === field.value || undefined}>
        <button type="button" class="option" aria-pressed=${option.value === field.value} onClick=${() => done(option.value)}><span data-squeeze>${option.label}</span></button></li>`)}</ul></${Paged}>
      <button type="button" class="cancel" aria-label=${words.cancel} onClick=${cancel}><${Glyph} name="cancel"/></button>
    </div>`;
  }
}
