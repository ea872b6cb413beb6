// Draws the newest scene and sends lines of the story language. It decides nothing: what may be done is refused, with
// its reason, by agent/sim/workbench.py. Texts go into the page as text, never as markup.
import uPlot from "/uPlot.esm.js";

const byId = (id) => document.getElementById(id);
const COLOURS = ["#39ffc2", "#9db8ea", "#efe503", "#ff9a8c"];
const DASHES = [[], [8, 4], [2, 3], [12, 3, 2, 3]];        // told apart without colour, too
const RETRY_MS = 1000;
const LEFT = 40;                                           // of the window's width, for borders and gap

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, text = "", attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Rebuild a list only when it says something new; a reader at its end stays at its end. */
function fill(list, items, build) {
  const key = JSON.stringify(items);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const box = list.closest(".scroll");
  const atEnd = box && box.scrollTop + box.clientHeight >= box.scrollHeight - 20;
  list.replaceChildren(...items.map(build));
  if (atEnd) box.scrollTop = box.scrollHeight;
}

// -- what can be done -------------------------------------------------------------------------------------------------

let setup = null, view = "real", scene = null;

async function post(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })
    .catch(() => null);
  say(answer === null ? "The workbench does not answer: is station-agent demo still running?" : answer.ok ? "" : await answer.text());
  return answer !== null && answer.ok;
}

const order = (line) => post("/do", { line });

function say(text) {
  put(byId("error"), text.trim());
  byId("error").hidden = !text;
}

function button(text, attributes, press) {
  const made = make("button", text, { type: "button", ...attributes });
  made.addEventListener("click", async () => {
    made.setAttribute("aria-busy", "true");
    await press(made);
    made.removeAttribute("aria-busy");
  });
  return made;
}

// A switch: what it does depends on how the thing is now.
const toggle = (text, name, press) => button(text, { "data-switch": name, "aria-pressed": "false" }, press);

function portBox(evse_id) {
  const box = byId("port").content.firstElementChild.cloneNode(true);
  const field = (name) => box.querySelector(`[data-f=${name}]`);
  box.id = `port-${evse_id}`;
  put(box.querySelector("legend"), `Port ${evse_id}`);
  field("car").append(...setup.cars.map((kind) => make("option", CARS[kind] ?? kind, { value: kind })));
  box.querySelector("[data-do=plug]").addEventListener("click", () => order(`plug ${evse_id} car=${field("car").value}`));
  box.querySelector("[data-do=unplug]").addEventListener("click", () => order(`unplug ${evse_id}`));
  for (const [what, text] of Object.entries(setup.faults)) {
    const made = toggle(FAULTS[what] ?? what, what, (me) => order(`${me.ariaPressed === "true" ? "heal" : "fault"} ${what} ${evse_id}`));
    made.title = text;
    field("faults").append(made);
  }
  field("heat").addEventListener("change", () => order(`heat ${evse_id} ${field("heat").value}`));
  return box;
}

const CARS = { normal: "normal", soon: "full soon", diode: "no diode", ventilation: "asks for ventilation (D)", shorted: "pilot shorted", leaking: "leaks after 3 s" };
const FAULTS = { leak: "Ground fault", weld: "Weld the contactor", pilot: "Short our pilot", meter: "Kill the meter" };
const CARDS = { ann: "ann, connected", bob: "bob, connected", cara: "cara, connected", phone: "a phone (changing id)" };
const CLOCKS = { right: "right", fast: "a day fast", dead: "dead (time unknown)" };

function buildWorld() {
  byId("cards").append(...setup.cards.map((name) => button(CARDS[name] ?? name, { "data-card": name }, () => order(`tap ${name}`))));
  const part = (name, text) => toggle(text, name, (me) => order(`${me.ariaPressed === "true" ? "mend" : "cut"} ${name}`));
  const clock = make("label", "Clock chip ");
  const choice = make("select", "", { id: "chip" });
  choice.append(...setup.clocks.map((how) => make("option", CLOCKS[how] ?? how, { value: how })));
  choice.addEventListener("change", () => order(`clock ${choice.value}`));
  clock.append(choice);
  clock.title = "As the next power-on finds it; the cloud corrects it while it can be reached";
  byId("things").append(
    part("power", "Cut the power"), part("broker", "Kill the broker"), part("radio", "Radio silence"),
    button("kill -9 the agent", { "data-do": "kill" }, () => order("kill agent")),
    toggle("Emergency stop", "stop", (me) => order(`stop ${me.ariaPressed === "true" ? "off" : "on"}`)),
    clock,
  );
}

// -- what can be seen -------------------------------------------------------------------------------------------------

const volts = (v) => (v === null ? "" : `${v > 0 ? "+" : ""}${v.toFixed(1)} V`);
const VERDICT = {
  equal: "ledger = meters", open: "ledger: still on its way", loss: "ledger < meter: lost in a power cut, never the driver's",
  wrong: "ledger ≠ meters", none: "",
};
const MARKS = { here: "still here", equal: "= equal", open: "… on its way", loss: "< lost in a cut, never the driver's", wrong: "≠ differs" };

function press(switches, name, on) {
  const made = switches.querySelector(`[data-switch=${name}]`);
  if (made) made.setAttribute("aria-pressed", String(on));
}

function drawPort(port) {
  if (!byId(`port-${port.evse_id}`)) byId("ports").append(portBox(port.evse_id));
  const box = byId(`port-${port.evse_id}`);
  const field = (name) => box.querySelector(`[data-f=${name}]`);
  const on = (name, text, is) => { put(field(name), text); field(name).dataset.on = is; };
  put(box.querySelector(".word"), `${port.word}${port.car ? ` · car: ${CARS[port.car] ?? port.car}` : " · no car"}${port.tripped ? " · trip line on" : ""}`);
  on("pilot", `${port.state}  ${volts(port.high_v)}${port.low_v === null ? "" : ` / ${volts(port.low_v)}`}`, false);
  on("offer", `${port.offer_a.toFixed(1)} A`, port.offer_a > 0);
  on("contactor", port.contactor ? (port.coil ? "closed" : "closed, coil off") : "open", port.contactor);
  on("current", `${port.current_a.toFixed(1)} A`, port.current_a > 0);
  on("power", `${(port.power_w / 1000).toFixed(2)} kW`, port.power_w > 0);
  on("register", `${port.register_wh} Wh`, false);
  for (const what of Object.keys(setup.faults)) press(box, what, port.broken.includes(what));
  put(field("celsius"), `${port.temperature_c.toFixed(0)} °C`);
  if (document.activeElement !== field("heat")) field("heat").value = port.temperature_c;
  box.querySelector("[data-do=plug]").hidden = Boolean(port.car);
  field("car").closest("label").hidden = Boolean(port.car);
  box.querySelector("[data-do=unplug]").hidden = !port.car;
}

function drawThings(things) {
  for (const name of ["power", "broker", "radio"]) press(byId("things"), name, !things[name]);
  press(byId("things"), "stop", things.stop);
  if (document.activeElement !== byId("chip")) byId("chip").value = things.clock;
}

function ledgerRow(row) {
  const tr = document.createElement("tr");
  const wh = (value) => (value === null ? "–" : String(value));
  tr.append(make("td", String(row.evse_id)), make("td", row.who || "–"), make("td", String(row.sessions)));
  tr.append(make("td", wh(row.ledger_wh), { class: "number" }), make("td", row.mark === "here" ? "runs" : wh(row.meter_wh), { class: "number" }));
  tr.append(make("td", MARKS[row.mark], { "data-mark": row.mark }));
  return tr;
}

function decisionItem(made) {
  const li = document.createElement("li");
  const details = document.createElement("details"), summary = document.createElement("summary");
  summary.append(make("strong", `${made.who}: ${made.decision}`), `${made.text}${made.code ? ` (${made.code})` : ""}`);
  details.append(summary, ...made.rules.map(([rule, opinion]) => make("p", `${rule}: ${opinion}`)));
  li.append(details);
  return li;
}

function saidItem([at, stream, action]) {
  const li = document.createElement("li");
  if (at) li.append(make("time", at));
  li.append(action, make("small", stream ? `  ${stream}` : ""));
  return li;
}

function draw(next) {
  scene = next;
  put(byId("clock"), scene.clock.replace("T", " ").replace(/\.\d+/, ""));
  put(byId("verdict"), VERDICT[scene.verdict]);
  byId("verdict").dataset.mark = scene.verdict;
  byId("busy").hidden = !scene.busy;
  put(byId("busy-text"), scene.busy);
  byId("skip").hidden = view !== "real";
  byId("again").hidden = view !== "lapse";
  byId("bezel").dataset.dark = !scene.things.power;
  for (const each of byId("world").querySelectorAll("button, select, input")) each.disabled = Boolean(scene.busy);
  scene.ports.forEach(drawPort);
  drawThings(scene.things);
  fill(byId("station"), scene.station, ([name, value]) => {
    const row = document.createElement("div");
    row.append(make("dt", name), make("dd", value));
    return row;
  });
  fill(byId("ledger"), scene.ledger, ledgerRow);
  fill(byId("decisions"), scene.decisions, decisionItem);
  byId("no-card").hidden = scene.decisions.length > 0;
  fill(byId("said"), scene.said, saidItem);
  fill(byId("story"), scene.story, (line) => make("li", line));
  fill(byId("log"), scene.log, (line) => make("li", line));
  drawPlots(scene.series);
}

// -- plots ------------------------------------------------------------------------------------------------------------

const plots = {};
const LEAST = { power: 1, energy: 0.01, cost: 1 };         // of what an axis covers
const timeOf = (at_s) => new Date(at_s * 1000).toISOString().slice(11, 19);

function plot(name, ports, digits) {
  const ink = "#b6c3d0", grid = { stroke: "#2b3845", width: 1 };
  const axis = { stroke: ink, grid, ticks: grid };
  const time = { ...axis, values: (_, splits) => splits.map(timeOf), space: 70 };
  const series = Array.from({ length: ports }, (_, i) => ({
    label: `Port ${i + 1}`, stroke: COLOURS[i % 4], width: 2, dash: DASHES[i % 4], points: { show: false },
    value: (_, v) => (v === null || v === undefined ? "–" : v.toFixed(digits)),
  }));
  const box = byId(`plot-${name}`);
  const options = {
    width: box.clientWidth || 300, height: 150, axes: [time, { ...axis, size: 56 }],
    series: [{ label: "At", value: (_, at_s) => (at_s ? timeOf(at_s) : "–") }, ...series],
    scales: { y: { range: (_, least, most) => [0, Math.max(most ?? 0, LEAST[name]) * 1.1] } }, cursor: { drag: { x: false, y: false } },
  };
  return new uPlot(options, [[], ...series.map(() => [])], box);
}

function drawPlots(series) {
  const rows = { power: series.power_w.map((row) => row.map((w) => w / 1000)), energy: series.energy_wh.map((row) => row.map((wh) => wh / 1000)), cost: series.cost };
  if (!series.at_s.length) return;
  for (const [name, columns] of Object.entries(rows)) {
    plots[name] ??= plot(name, columns.length, name === "power" ? 2 : 3);
    plots[name].setData([series.at_s, ...columns]);
  }
  const isPriced = series.cost.some((row) => row.some((value) => value !== null));
  put(byId("cost-text"), isPriced ? "" : "(it has no tariff, so it shows none)");
}

// -- the panel --------------------------------------------------------------------------------------------------------

function fit() {
  const [width, height] = byId("size").value.split("x").map(Number);
  const room = byId("stage").clientWidth - 20;
  const scale = Math.min(1, room / width);
  const { style } = byId("panel");
  Object.assign(style, { width: `${width}px`, height: `${height}px`, transform: `scale(${scale})` });
  Object.assign(byId("bezel").style, { width: `${Math.ceil(width * scale) + 20}px`, height: `${Math.ceil(height * scale) + 20}px` });
  put(byId("scale"), `${width} x ${height}${scale < 1 ? `, shown at ${Math.round(scale * 100)} %` : ""}`);
  for (const [name, each] of Object.entries(plots)) each.setSize({ width: byId(`plot-${name}`).clientWidth, height: 150 });
}

async function openPanel() {
  setup = await (await fetch("/setup")).json();
  const { port, token } = setup.windows[view];
  byId("panel").src = `http://${location.hostname}:${port}/?${Date.now()}${token ? `#${token}` : ""}`;   // always anew
}

// -- the connection ---------------------------------------------------------------------------------------------------

let events = null;

function connect() {
  events?.close();
  events = new EventSource(`/events/${view}`);
  events.onmessage = (message) => {
    if (byId("error").dataset.lost) { delete byId("error").dataset.lost; say(""); }
    const next = JSON.parse(message.data);
    if (next) draw(next);
  };
  events.onerror = () => {
    say("The workbench does not answer: is station-agent demo still running?");
    byId("error").dataset.lost = "1";
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  };
}

async function show(name, another = false) {
  if (name === "lapse" && (another || !setup.evening) && !(await post("/evening", {}))) return;
  view = name;
  for (const each of ["real", "lapse"]) byId(`view-${each}`).setAttribute("aria-pressed", String(each === view));
  byId("ports").replaceChildren();
  for (const [key, each] of Object.entries(plots)) { each.destroy(); delete plots[key]; }
  await openPanel();
  connect();
}

byId("view-real").addEventListener("click", () => show("real"));
byId("view-lapse").addEventListener("click", () => show("lapse"));
byId("again").addEventListener("click", () => show("lapse", true));
byId("skip").addEventListener("click", () => post("/skip", {}));
byId("size").addEventListener("change", async () => {
  if (await post("/display", { size: byId("size").value })) { fit(); await openPanel(); }
});
addEventListener("resize", fit);

await post("/display", { size: byId("size").value });
await openPanel();
buildWorld();
fit();
connect();
