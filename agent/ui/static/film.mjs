// The instructional video; and where it does not play, the same steps drawn and in words. A press holds either for a
// while (WCAG 2.2.2): held, it is no evidence of anything, and the heartbeat says that there is none.
import { html, Component } from "/vendor/htm-preact-3.1.1.mjs";
import { Scene } from "./icons.mjs";

const FILM = "/video/how.webm";
const STALLED_BEATS = 4;       // seconds without a new frame
const RETRY_MS = 60000;
const STEP_MS = 4000;
const HELD_MS = 60000;

export const still = matchMedia("(prefers-reduced-motion: reduce)");

/** What there is to see now, and how many frames of it since the page began: read by the heartbeat. */
export const film = { video: "none", frames: 0 };

export class Film extends Component {
  constructor() {
    super();
    this.state = { plays: !still.matches, held: false };
    this.stalled = 0;
  }

  componentDidMount() {
    film.look = () => this.look();
    this.before = film.frames;
    this.say();
  }

  componentDidUpdate() { this.say(); }

  componentWillUnmount() {
    clearTimeout(this.retry);
    clearTimeout(this.release);
    film.look = null;
    film.video = "none";
  }

  say() { film.video = this.state.held ? "none" : this.state.plays ? "playing" : "animation"; }

  hold(held) {
    clearTimeout(this.release);
    if (held) this.release = setTimeout(() => this.hold(false), HELD_MS);
    if (this.state.plays) held ? this.dom.pause() : this.dom.play().catch(() => {});
    this.stalled = 0;
    this.setState({ held });
  }

  /** Once a second: do its frames go on? */
  look() {
    const { dom } = this;
    const { plays, held } = this.state;
    if (!plays || held || !dom || document.hidden) return;
    const frames = this.before + dom.getVideoPlaybackQuality().totalVideoFrames;
    this.stalled = frames === film.frames ? this.stalled + 1 : 0;
    film.frames = frames;
    if (dom.paused) dom.play().catch(() => {});
    if (this.stalled >= STALLED_BEATS) this.failed();
  }

  failed() {
    this.stalled = 0;
    this.before = film.frames;
    this.setState({ plays: false });
    this.retry = setTimeout(() => this.setState({ plays: true }), RETRY_MS);
  }

  render({ how, label }, { plays, held }) {
    const shown = plays
      ? html`<video class="film" key="film" src=${FILM} muted autoplay loop playsinline disablepictureinpicture tabindex="-1" aria-label=${label}
        ref=${(dom) => { this.dom = dom; }} onError=${() => this.failed()}/>`
      : html`<${Animation} how=${how} held=${held}/>`;
    return html`${shown}${(plays || !still.matches) && html`<button type="button" class="hold" aria-label=${label} aria-pressed=${!held} onClick=${() => this.hold(!held)}/>`}`;
  }
}

/** The steps one after the other, each with its text; all in words for who listens. */
class Animation extends Component {
  constructor() {
    super();
    this.state = { at: 0 };
  }

  componentDidMount() {
    if (!still.matches) this.timer = setInterval(() => !this.props.held && this.setState({ at: this.state.at + 1 }), STEP_MS);
  }

  componentWillUnmount() { clearInterval(this.timer); }

  render({ how, held }, { at }) {
    const now = at % how.steps.length;
    return html`<ol class="animation" data-held=${held}>${how.steps.map(([scene, text], i) => html`
      <li key=${scene} class=${i === now ? "now" : ""}><${Scene} name=${scene}/><span class="caption"><b>${i + 1}</b> ${text}</span></li>`)}</ol>`;
  }
}
