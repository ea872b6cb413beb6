// What does not fit is never cut off: a page is turned, a long word is narrowed, and of a card the least important goes.
import { html, Component } from "/vendor/htm-preact-3.1.1.mjs";
import { Glyph } from "./icons.mjs";

const TURN_MS = 5000;
const NARROWEST = 0.55;

/** Every [data-squeeze] below `root` in which a word is wider than its box: narrower letters, as high as before. */
export function squeeze(root) {
  for (const element of root.querySelectorAll("[data-squeeze]")) {
    const key = () => `${element.textContent}|${element.clientWidth}|${element.parentElement.clientWidth}`;
    if (element.dataset.squeeze === key()) continue;
    Object.assign(element.style, { transform: "", inlineSize: "", flex: "" });
    const wide = element.scrollWidth, room = element.clientWidth;
    if (room && wide > room) {
      const scale = Math.max(NARROWEST, room / wide);
      Object.assign(element.style, { transform: `scaleX(${scale})`, inlineSize: `${room / scale}px`, flex: "none" });
    }
    element.dataset.squeeze = key();
  }
}

const overflows = (element) => element.scrollHeight > element.clientHeight + 3 || element.scrollWidth > element.clientWidth + 1;

/** `element` leaves out, step by step, what style.css says for data-fit, until the rest fits. */
export function fit(element, most) {
  const key = keyOf(element);
  if (element.dataset.key === key) return;
  let left_out = 0;
  element.dataset.fit = "0";
  squeeze(element);
  while (left_out < most && overflows(element)) {
    element.dataset.fit = String(++left_out);
    squeeze(element);
  }
  element.dataset.key = key;
}

/** What decides whether it fits: figures that only count on do not. */
const keyOf = (element) => `${element.textContent.replace(/\d/g, "0")}|${element.offsetWidth}|${element.offsetHeight}|${document.documentElement.dataset.large}`;

/** Text in columns as wide as the box: those that lie outside are the next screenfuls, and no line is ever cut.
 *
 * `turned`: which one to show, as the model says it; without it they follow by themselves. `told(n)`: how many there
 * are. A [data-chosen] in it is always in sight. A touch on the mark turns too.
 */
export class Paged extends Component {
  constructor() {
    super();
    this.state = { count: 1, ahead: 0 };
  }

  componentDidMount() {
    this.measure();
    if (this.props.turned === undefined) this.timer = setInterval(() => this.turn(), TURN_MS);
  }

  componentWillUnmount() { clearInterval(this.timer); }

  componentDidUpdate(before) {
    if (before.turned !== this.props.turned || before.key_ !== this.props.key_) this.setState({ ahead: 0 });
    this.measure();
  }

  turn() {
    if (this.state.count > 1) this.setState({ ahead: (this.state.ahead + 1) % this.state.count });
  }

  get at() { return ((this.props.turned ?? 0) + this.state.ahead) % this.state.count; }

  count() {
    const { frame, box } = this;
    for (const many of [false, true]) {
      frame.classList.toggle("many", many);
      squeeze(box);
      const count = screenfuls(box);
      if (count === 1 || many) return count;
    }
  }

  measure() {
    const { frame, box } = this;
    const key = `${keyOf(frame)}|${this.state.count}`;
    if (key !== this.measured) {
      this.measured = key;
      const count = this.count();
      if (count !== this.state.count) return this.setState({ count });
    }
    const { count } = this.state;
    const chosen = box.querySelector("[data-chosen]");
    const at = chosen ? where(box, chosen) : this.at;
    box.scrollLeft = (getComputedStyle(box).direction === "rtl" ? -1 : 1) * at * stride(box);
    this.props.told?.(chosen ? 1 : count);
  }

  render({ children, turned, title }, { count }) {
    return html`<div class="paged" ref=${(dom) => { this.frame = dom; }}>
      <div class="columns" ref=${(dom) => { this.box = dom; }}>${children}</div>
      ${count > 1 && html`<button type="button" class="turn" aria-label=${`${title ?? ""} ${this.at + 1}/${count}`} onClick=${() => this.turn()}>
        <span>${this.at + 1}/${count}</span>${turned !== undefined && html`<${Glyph} name="next"/>`}</button>`}
    </div>`;
  }
}

const gap = (box) => parseFloat(getComputedStyle(box).columnGap) || 0;
const stride = (box) => box.clientWidth + gap(box);
const screenfuls = (box) => Math.max(1, Math.round((box.scrollWidth + gap(box)) / stride(box)));

function where(box, element) {
  const from = box.getBoundingClientRect(), to = element.getBoundingClientRect();
  const rtl = getComputedStyle(box).direction === "rtl";
  const offset = rtl ? from.right - to.right - box.scrollLeft : to.left - from.left + box.scrollLeft;
  return Math.max(0, Math.round(offset / stride(box)));
}
