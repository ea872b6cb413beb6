// What does not fit is never cut off: a page is turned, a long word is narrowed, and of a card the least important goes.
import { html, Component } from "/vendor/htm-preact-3.1.1.mjs";

const TURN_MS = 5000, TURN_LEAST_MS = 2500;
const NARROWEST = 0.55;
const ONE_LINE = 0.72;           // [data-line] stays on one line if its letters need not be narrower than this
const SWIPE_MM = 12;

let look = 0;

/** A font has come, or the letters' size has changed: what was measured before counts no more. */
export const measure_anew = () => { look++; };

/** Every [data-squeeze] below `root` in which a word is wider than its box: narrower letters, as high as before. */
export function squeeze(root) {
  for (const element of root.querySelectorAll("[data-squeeze]")) {
    const key = () => `${look}|${element.textContent}|${element.clientWidth}|${element.parentElement.clientWidth}`;
    if (element.dataset.squeeze === key()) continue;
    Object.assign(element.style, { transform: "", inlineSize: "", flex: "", whiteSpace: "" });
    const room = element.clientWidth;
    if (element.dataset.line !== undefined) {
      element.style.whiteSpace = "nowrap";
      if (element.scrollWidth * ONE_LINE > room) element.style.whiteSpace = "";
    }
    const wide = element.scrollWidth;
    if (room && wide > room) {
      const scale = Math.max(NARROWEST, room / wide);
      Object.assign(element.style, { transform: `scaleX(${scale})`, inlineSize: `${room / scale}px`, flex: "none" });
    }
    element.dataset.squeeze = key();
  }
}

const overflows = (element) => element.scrollHeight > element.clientHeight + 3 || element.scrollWidth > element.clientWidth + 1;

/** The soft keys: as wide as each other, over the buttons of the frame; where that is too little, as wide as they need. */
export function spread(keys) {
  const buttons = [...keys.children].filter((button) => !button.disabled), labels = buttons.map((button) => button.firstChild);
  const key = `${look}|${buttons.map((button) => button.textContent)}|${keys.clientWidth}`;
  if (keys.dataset.key === key) return;
  for (const button of buttons) button.style.flex = "";
  for (const label of labels) Object.assign(label.style, { transform: "", inlineSize: "max-content" });
  const widths = labels.map((label) => label.scrollWidth);
  const rooms = () => buttons.map((button) => button.clientWidth - 2 * parseFloat(getComputedStyle(button).paddingLeft));
  if (rooms().some((room, i) => widths[i] * ONE_LINE > room)) buttons.forEach((button, i) => { button.style.flex = `${widths[i]} 1 0px`; });
  rooms().forEach((room, i) => {
    const scale = Math.min(1, room / widths[i]);
    Object.assign(labels[i].style, { inlineSize: `${Math.ceil(Math.max(room, widths[i]))}px`, transform: scale < 1 ? `scaleX(${scale})` : "" });
  });
  keys.dataset.key = key;
}

/** `element` leaves out, in this order, what style.css says for data-fit, until the rest fits. Whether it had to look. */
export function fit(element, order) {
  const key = keyOf(element);
  if (element.dataset.key === key) return false;
  const gone = new Set();
  const tried = () => {
    element.dataset.fit = [...gone].join(" ");
    squeeze(element);
    return !overflows(element);
  };
  for (const step of order) {
    if (tried()) break;
    gone.add(step);
  }
  for (const step of [...gone].reverse()) {              // what one of them has made room for comes back
    gone.delete(step);
    if (!tried()) gone.add(step);
  }
  tried();
  element.dataset.key = key;
  return true;
}

/** What decides whether it fits: figures that only count on do not. */
const keyOf = (element) => `${look}|${element.textContent.replace(/\d/g, "0")}|${element.offsetWidth}|${element.offsetHeight}`;

/** Text in columns as wide as the box: those that lie outside are the next screenfuls, and no line is ever cut.
 *
 * `turned`: which one to show, as the model says it; without it they follow by themselves, each once in `within` ms. `told(n)`: how many there
 * are. A [data-chosen] in it is always in sight. A finger drawn across turns too. `goes_on`: who holds or turns it finds it where it stands.
 */
export class Paged extends Component {
  constructor() {
    super();
    this.state = { count: 1, ahead: 0 };
  }

  componentDidMount() {
    this.measure();
    this.keepTurning();
  }

  componentWillUnmount() { clearInterval(this.timer); }

  keepTurning() {
    clearInterval(this.timer);
    const { turned, within } = this.props;
    if (turned === undefined) this.timer = setInterval(() => this.turn(), within ? Math.max(TURN_LEAST_MS, within / this.state.count) : TURN_MS);
  }

  componentDidUpdate(before, { count }) {
    const { turned, within, key_, goes_on } = this.props;
    if (count !== this.state.count || before.turned !== turned || before.within !== within) this.keepTurning();
    if ((before.turned !== turned && !goes_on) || before.key_ !== key_) this.setState({ ahead: 0 });
    this.measure();
  }

  turn(by = 1) {
    const { count, ahead } = this.state;
    if (count > 1) this.setState({ ahead: (ahead + by + count) % count });
  }

  drawn(event) {
    const way = event.clientX - this.from, mm = parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--mm"));
    const forward = getComputedStyle(this.box).direction === "rtl" ? 1 : -1;
    this.from = NaN;                     // what begins elsewhere, on a map, is no swipe wherever it ends
    if (Math.abs(way) > SWIPE_MM * mm) this.turn(Math.sign(way) * forward);
  }

  /** The screenful that is shown: that of the chosen field, or the first, and on from there. */
  get at() {
    const chosen = [...this.box.querySelectorAll("[data-chosen]")].pop();    // the innermost
    return ((chosen ? where(this.box, chosen) : 0) + (this.props.turned ?? 0) + this.state.ahead) % this.state.count;
  }

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
    const { at } = this;
    box.scrollLeft = (getComputedStyle(box).direction === "rtl" ? -1 : 1) * at * stride(box);
    [...frame.lastChild.children].forEach((dot, i) => dot.classList.toggle("now", i === at));
    this.props.told?.(this.state.count);
  }

  render({ children }, { count }) {
    return html`<div class="paged" ref=${(dom) => { this.frame = dom; }} onPointerDown=${(event) => { this.from = event.clientX; }} onPointerUp=${(event) => this.drawn(event)}>
      <div class="columns" ref=${(dom) => { this.box = dom; }}>${children}</div>
      <div class="dots" aria-hidden="true">${count > 1 && Array.from({ length: count }, (_, i) => html`<i key=${i}/>`)}</div>
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
  return Math.max(0, Math.floor((offset + 1) / stride(box)));
}
