// Where the station is, on a map that needs no network: outlines of the world, streets from the site extract where there
// is one, a grid of metres to move along. Every word comes with the model; what is dropped or pressed goes back as text.
import { html, Component } from "/vendor/htm-preact-3.1.1.mjs";

const WORLD = 20037508.34;        // metres from the middle to the edge of the Mercator square
const OUTLINE_ZOOM_MAX = 12;      // beyond it the outline is coarser than the display
const ZOOM_MAX = 22;              // 4 cm a pixel
const CLOSE = 18;                 // a car park fills the display
const GRIDS_M = [0.1, 1, 10, 100, 1000];
const GRID_LEAST_PX = 14;
const STEPS_M = [0.1, 1, 10];
const TOUCH_PX = 4;               // how well a finger or a mouse hits
const PIN_TALL = 1.35;            // of a key's height
const BACK_MS = 2000;             // what was dropped and not taken goes back
const ARROWS = { ArrowUp: "n", ArrowDown: "s", ArrowRight: "e", ArrowLeft: "w" };

// -- what is fetched, once, when a map is first shown --------------------------------------------------------------------

const fetched = new Map();

function once(url, get) {
  if (!fetched.has(url)) fetched.set(url, get(url).catch((error) => { fetched.delete(url); throw error; }));
  return fetched.get(url);
}

function element(name, facts) {
  return new Promise((resolve, reject) => {
    const added = Object.assign(document.createElement(name), facts, { onload: resolve, onerror: () => reject(new Error(`${facts.src ?? facts.href} is not there`)) });
    document.head.append(added);
  });
}

const script = (url) => once(url, (src) => element("script", { src }));
const sheet = (url) => once(url, (href) => element("link", { rel: "stylesheet", href }));
const leaflet = () => Promise.all([script("/vendor/leaflet-1.9.4.js"), sheet("/vendor/leaflet-1.9.4.css"), sheet("/map.css")]);

/** agent/wizard/places.py says what is in it. */
async function read_outline(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  const data = await answer.arrayBuffer();
  const [arcs, low, high, rings, references] = new Uint16Array(data, 4, 5);
  const points = low + high * 65536;
  let at = 16;
  const column = (Kind, count) => {
    const values = new Kind(data, at, count);
    at += values.byteLength;
    return values;
  };
  return {
    boxes: column(Int16Array, 4 * arcs), sides: column(Uint16Array, 2 * arcs), firsts: column(Uint32Array, arcs + 1),
    points: column(Int16Array, 2 * points), lengths: column(Uint16Array, rings), references: column(Int16Array, references),
  };
}

// -- layers ----------------------------------------------------------------------------------------------------------------

/** Mercator's y of a latitude, from 0 at the upper edge to 1. */
function down(latitude) {
  const sine = Math.sin((Math.max(-85.0511, Math.min(85.0511, latitude)) * Math.PI) / 180);
  return 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
}

function outline_layer(L, outline, colour) {
  const ways = new Float64Array(65536).map((_, i) => down(((i - 32768) / 32767) * 90));
  const Outline = L.GridLayer.extend({
    createTile({ x, y, z }) {
      const canvas = document.createElement("canvas"), pen = canvas.getContext("2d"), size = 256 * 2 ** z;
      canvas.width = canvas.height = 256;
      const left = 256 * x, top = 256 * y;
      const px = (lon) => (lon / 65534 + 0.5) * size - left, py = (lat) => ways[lat + 32768] * size - top;
      pen.fillStyle = colour("--map-land");
      pen.strokeStyle = colour("--map-line");
      pen.lineWidth = z > 3 ? 1.5 : 0.75;
      let at = 0;
      for (const length of outline.lengths) {
        const ring = outline.references.subarray(at, at += length);
        if (is_near(outline, ring, px, py)) draw(pen, outline, ring, px, py);
      }
      return canvas;
    },
  });
  return new Outline({ maxZoom: OUTLINE_ZOOM_MAX, noWrap: true, keepBuffer: 1, className: "outline" });
}

function is_near({ boxes }, ring, px, py) {
  let west = Infinity, south = Infinity, east = -Infinity, north = -Infinity;
  for (const reference of ring) {
    const i = 4 * (reference < 0 ? ~reference : reference);
    west = Math.min(west, boxes[i]); south = Math.min(south, boxes[i + 1]);
    east = Math.max(east, boxes[i + 2]); north = Math.max(north, boxes[i + 3]);
  }
  return px(east) > -2 && px(west) < 258 && py(south) > -2 && py(north) < 258;
}

function draw(pen, { firsts, points }, ring, px, py) {
  pen.beginPath();
  let lastX = Infinity, lastY = Infinity;
  for (const reference of ring) {
    const arc = reference < 0 ? ~reference : reference;
    const first = firsts[arc], end = firsts[arc + 1], step = reference < 0 ? -1 : 1;
    for (let i = step > 0 ? first : end - 1; i >= first && i < end; i += step) {
      const x = px(points[2 * i]), y = py(points[2 * i + 1]);
      if (Math.abs(x - lastX) + Math.abs(y - lastY) < 0.7) continue;    // less than a pixel from the last one
      pen.lineTo(x, y);
      lastX = x; lastY = y;
    }
  }
  pen.closePath();
  pen.fill();
  pen.stroke();
}

/** The site extract (PMTiles), where it is and as far as it reaches; throws where there is none. */
async function streets_layer(url, language) {
  await script("/vendor/protomaps-leaflet-5.1.0.js");
  const { PmtilesSource, leafletLayer } = window.protomapsL;
  const header = await new PmtilesSource(url, true).p.getHeader();
  const bounds = [[header.minLat, header.minLon], [header.maxLat, header.maxLon]];
  const layer = leafletLayer({
    url, bounds, flavor: "light", lang: language, attribution: "", noWrap: true, maxDataZoom: header.maxZoom,
    minZoom: Math.max(0, header.minZoom - 1), maxZoom: ZOOM_MAX, maxNativeZoom: ZOOM_MAX, className: "streets",
  });
  return layer;
}

/** Lines so many metres apart, through the point; every tenth is stronger. */
function grid(L, map, point) {
  const bounds = map.getBounds(), north_deg = 180 / (Math.PI * 6371008.8), shrink = Math.cos((point.lat * Math.PI) / 180);
  const metre_px = (256 * 2 ** map.getZoom()) / (2 * WORLD * Math.max(0.01, shrink));
  const step_m = GRIDS_M.find((m) => m * metre_px >= GRID_LEAST_PX);
  if (!step_m) return { step_m: 0, thin: [], strong: [] };
  const up = step_m * north_deg, across = up / Math.max(0.01, shrink);
  const thin = [], strong = [];
  const each = (from, to, start, step, line) => {
    for (let n = Math.ceil((from - start) / step); n <= Math.floor((to - start) / step); n++) (n % 10 ? thin : strong).push(line(start + n * step));
  };
  each(bounds.getSouth(), bounds.getNorth(), point.lat, up, (lat) => [[lat, bounds.getWest()], [lat, bounds.getEast()]]);
  each(bounds.getWest(), bounds.getEast(), point.lng, across, (lng) => [[bounds.getSouth(), lng], [bounds.getNorth(), lng]]);
  return { step_m, thin, strong };
}

// -- the view ----------------------------------------------------------------------------------------------------------------

/** `map`: agent/ui/model.py Map. `post(name, value)`: "pinpoint" with a `geo:` URI, "pinpoint.nudge" with `n1`, `e-0.1` … */
export class MapView extends Component {
  constructor(props) {
    super(props);
    const near = STEPS_M.find((m) => m >= props.map.step_m);
    this.state = { step_m: (props.map.step_m && near) || 1, streets: false, lacks: !props.map.streets, grid_m: 0, broken: false };
  }

  async componentDidMount() {
    try {
      await leaflet();
      if (this.box) this.begin(window.L);
    } catch (error) {
      console.warn(error.message);
      this.setState({ broken: true });
    }
  }

  componentDidUpdate(before) {
    const { latitude, longitude, accuracy_m, streets } = this.props.map, was = before.map;
    if (!this.leaflet) return;
    if (latitude !== was.latitude || longitude !== was.longitude || accuracy_m !== was.accuracy_m) this.follow();
    if (streets !== was.streets) this.streets();
    if (this.marker) this.named();
  }

  componentWillUnmount() {
    clearTimeout(this.back);
    this.sizes?.disconnect();
    this.leaflet?.remove();
    this.leaflet = null;
  }

  begin(L) {
    const is_still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const map = this.leaflet = L.map(this.box, {
      zoomControl: false, attributionControl: false, minZoom: 0, maxZoom: ZOOM_MAX, zoomSnap: 1, fadeAnimation: false, inertia: false,
      zoomAnimation: !is_still, markerZoomAnimation: !is_still, worldCopyJump: false, maxBounds: [[-85, -540], [85, 540]], doubleClickZoom: true,
    });
    this.lines = { thin: L.polyline([], { className: "grid", interactive: false }), strong: L.polyline([], { className: "grid strong", interactive: false }) };
    this.ring = L.circle([0, 0], { radius: 0, className: "accuracy", interactive: false });
    map.on("moveend zoomend", () => this.ruled());
    map.on("click", ({ latlng }) => this.drop(latlng));
    this.sizes = new ResizeObserver(() => map.invalidateSize({ pan: false }));
    this.sizes.observe(this.box);
    this.outline(L);
    this.streets();
    this.follow(true);
  }

  async outline(L) {
    const colours = getComputedStyle(this.box);
    try {
      const data = await once("/outline.bin", read_outline);
      if (!this.leaflet) return;
      outline_layer(L, data, (name) => colours.getPropertyValue(name).trim()).addTo(this.leaflet);
      this.box.dataset.outline = "drawn";
    } catch (error) {
      console.warn(error.message);
    }
  }

  async streets() {
    const { streets } = this.props.map;
    this.layer?.remove();
    this.layer = null;
    this.setState({ streets: false, lacks: !streets });
    if (!streets) return;
    try {
      const layer = await streets_layer(streets, document.documentElement.lang.slice(0, 2));
      if (!this.leaflet || streets !== this.props.map.streets) return;
      this.layer = layer.addTo(this.leaflet);
      if (!this.point) this.far();
      this.setState({ streets: true });
    } catch (error) {
      console.warn(error.message);
      this.setState({ lacks: true });
    }
  }

  get point() {
    const { latitude, longitude } = this.props.map;
    return latitude === null || longitude === null ? null : window.L.latLng(latitude, longitude);
  }

  /** The marker stands where the station says; the map moves along if that is out of its middle. */
  follow(is_first = false) {
    const L = window.L, map = this.leaflet, { point } = this, { accuracy_m } = this.props.map;
    clearTimeout(this.back);
    if (!point) {
      if (is_first || this.marker) this.far();
      this.marker?.remove();
      this.ring.remove();
      this.marker = null;
      return this.ruled();
    }
    const is_new = is_first || !this.marker, is_other = accuracy_m !== this.accuracy_m && !this.dropped;
    if (is_new || is_other) this.look(point, this.zoom(accuracy_m ?? 10));
    else if (!this.dropped && !map.getBounds().pad(-0.3).contains(point)) map.panTo(point, { animate: false });
    if (!this.marker) this.mark(L, point);
    this.marker.setLatLng(point);
    this.ring.setLatLng(point).setRadius(accuracy_m ?? 0).addTo(map);
    this.accuracy_m = accuracy_m;
    this.dropped = false;
    this.ruled();
  }

  /** What there is to choose from while there is no point: the site, or the world. */
  far() {
    if (this.layer) this.leaflet.fitBounds(this.layer.options.bounds, { animate: false });
    else this.leaflet.setView([20, 0], 1, { animate: false });
  }

  /** The point in the middle, or below it where the mark would not fit above. */
  look(point, zoom) {
    const map = this.leaflet, lower = Math.max(0, this.keys.offsetHeight * PIN_TALL - this.box.clientHeight / 2);
    map.setView(map.unproject(map.project(point, zoom).subtract([0, lower]), zoom), zoom, { animate: false });
  }

  mark(L, point) {
    const icon = L.divIcon({ className: "pin", html: pin(), iconSize: null });
    this.marker = L.marker(point, { icon, draggable: true, keyboard: true, autoPanOnFocus: false }).addTo(this.leaflet);
    this.marker.on("dragend", () => this.drop(this.marker.getLatLng()));
    this.marker.getElement().addEventListener("keydown", (event) => this.key(event));
    this.named();
  }

  /** So close that the circle of accuracy fills half the display. */
  zoom(accuracy_m) {
    const size = Math.min(this.box.clientWidth, this.box.clientHeight) || 200;
    const shrink = Math.max(0.01, Math.cos((this.props.map.latitude * Math.PI) / 180));
    return Math.max(2, Math.min(CLOSE, Math.floor(Math.log2((2 * WORLD * shrink * size) / (256 * 4 * Math.max(1, accuracy_m))))));
  }

  named() {
    const dom = this.marker.getElement();
    dom.setAttribute("aria-label", this.props.map.text);
    dom.setAttribute("role", "button");
  }

  ruled() {
    const at = this.point ?? this.leaflet.getCenter();
    const { step_m, thin, strong } = grid(window.L, this.leaflet, at);
    for (const [name, lines] of [["thin", thin], ["strong", strong]]) {
      this.lines[name].setLatLngs(lines);
      if (lines.length) this.lines[name].addTo(this.leaflet).bringToBack();
      else this.lines[name].remove();
    }
    if (step_m !== this.state.grid_m) this.setState({ grid_m: step_m });
  }

  /** As exact as a finger is at this zoom. If the station does not take it, the marker goes back. */
  drop(latlng) {
    const { lat, lng } = latlng.wrap(), metre_px = (256 * 2 ** this.leaflet.getZoom()) / (2 * WORLD * Math.max(0.01, Math.cos((lat * Math.PI) / 180)));
    const accuracy_m = Math.max(1, TOUCH_PX / metre_px);
    this.props.post("pinpoint", `geo:${lat.toFixed(7)},${lng.toFixed(7)};u=${accuracy_m.toFixed(1)}`);
    this.dropped = true;                     // whoever drops it has chosen how closely to look
    clearTimeout(this.back);
    this.back = setTimeout(() => this.leaflet && this.marker && this.marker.setLatLng(this.point), BACK_MS);
  }

  here() {
    if (this.leaflet && this.point) this.look(this.point, Math.max(CLOSE, this.leaflet.getZoom()));
  }

  nudge(direction) {
    if (this.point) this.props.post("pinpoint.nudge", `${direction}${this.state.step_m}`);
  }

  key(event) {
    const direction = ARROWS[event.key];
    if (!direction || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.nudge(direction);
  }

  render({ map }, { step_m, streets, lacks, grid_m, broken }) {
    const { words } = map, has = map.latitude !== null;
    const next = STEPS_M[(STEPS_M.indexOf(step_m) + 1) % STEPS_M.length];
    const key = (name, word, press, disabled = false) => html`<button type="button" class="to-${name}" disabled=${disabled} aria-label=${word} onClick=${press}><${Icon} name=${name}/></button>`;
    const arrow = (direction) => key(direction, words[direction], () => this.nudge(direction), !has);
    const zoom = (name, by) => key(name, words[name], () => this.leaflet?.setZoom(this.leaflet.getZoom() + by));
    return html`<div class="pinpoint" dir="ltr">
      <div class="frame" onPointerDown=${keep} onPointerUp=${keep}>
        <div class="map" ref=${(dom) => { this.box = dom; }} role="region" aria-label=${words.map} data-streets=${streets ? "drawn" : ""} data-broken=${broken || undefined}></div>
        ${grid_m > 0 && html`<span class="grid-size" aria-hidden="true"><${Icon} name="grid"/> ${grid_m} m</span>`}
        ${streets && html`<span class="source">© OpenStreetMap</span>`}
      </div>
      <div class="map-keys" ref=${(dom) => { this.keys = dom; }} role="group" aria-label=${words.move}>
        ${zoom("closer", 1)}${zoom("farther", -1)}${key("here", words.here, () => this.here(), !has)}${["w", "n", "s", "e"].map(arrow)}
        <button type="button" class="step" disabled=${!has} onClick=${() => this.setState({ step_m: next })}>${step_m} m</button>
      </div>
      <p class="caption" dir="auto">${map.text}</p>
      ${lacks && html`<p class="caption soft" dir="auto">${words.no_streets}</p>`}
    </div>`;
  }
}

/** A drag on the map is not one over the page, which would turn it. */
const keep = (event) => event.stopPropagation();

const ICONS = {
  closer: "M12 4v16M4 12h16", farther: "M4 12h16", here: "M12 2v5M12 17v5M2 12h5M17 12h5M12 7a5 5 0 1 0 0 10a5 5 0 1 0 0-10",
  n: "M4 17L12 6L20 17Z", s: "M4 7L12 18L20 7Z", w: "M17 4L6 12L17 20Z", e: "M7 4L18 12L7 20Z", grid: "M3 3h18v18h-18zM9 3v18M15 3v18M3 9h18M3 15h18",
};

function Icon({ name }) {
  return html`<svg class="map-icon" data-solid=${name.length === 1} viewBox="0 0 24 24" aria-hidden="true"><path d=${ICONS[name]}/></svg>`;
}

function pin() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 44 56");
  svg.setAttribute("aria-hidden", "true");
  for (const [d, name] of [["M22 53C12 39 5 31 5 21a17 17 0 0 1 34 0c0 10-7 18-17 32z", "body"], ["M22 13v16M14 21h16", "cross"]]) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", d);
    path.setAttribute("class", name);
    svg.append(path);
  }
  return svg;
}
