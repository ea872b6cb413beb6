// Draws the newest snapshot. Every decision and every word about the station is made in agent/ui/view.py; this file
// only formats numbers. Texts go into the page as text, never as markup.
"use strict";

const SILENCE_MS = 12000;             // the panel says something every 5 s
const byId = (id) => document.getElementById(id);

function put(element, text) {         // touch the page only where it changes: screen readers announce changes
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, text, className = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

const kilo = (n, digits) => (n / 1000).toFixed(digits);
const two = (n) => String(n).padStart(2, "0");

function duration(s) {
  if (s === null) return "–";
  const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  return h ? `${h}:${two(m)}` : `${m}:${two(s % 60)}`;
}

// -- the panel ------------------------------------------------------------------------------------------------------

function drawNotice(box, notice, support) {
  const key = JSON.stringify([notice, support]);
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  box.dataset.tone = notice ? notice.tone : "";
  box.replaceChildren();
  if (!notice) return;
  const code = notice.code ? ` (${notice.code})` : "";
  box.append(make("strong", notice.title), make("p", notice.text), make("p", notice.action + code, "action"));
  if (support && notice.code) box.append(make("p", `Help: ${support}`, "help"));
}

function card(evse_id) {
  const id = `port-${evse_id}`;
  if (!byId(id)) {
    const article = byId("port").content.firstElementChild.cloneNode(true);
    article.id = id;
    byId("ports").append(article);
  }
  return byId(id);
}

function drawPort(port, support) {
  const article = card(port.evse_id);
  const field = (name) => article.querySelector(`[data-f=${name}]`);
  const { last } = port;
  const session = port.energy_wh !== null;
  const done = !session && last && port.status === "Occupied";          // the total stays up until the car has left
  article.dataset.tone = port.tone;
  article.dataset.measured = session || done;
  article.querySelector("use").setAttribute("href", `#${port.tone}`);
  put(field("name"), `Port ${port.evse_id}`);
  field("check").dataset.ready = port.ready;
  put(field("check"), port.ready ? "✔ ready" : `self-test ${port.self_test}`);
  for (const name of ["title", "text", "action"]) put(field(name), port[name]);
  const elapsed_s = session ? port.elapsed_s : done ? last.elapsed_s : null;
  put(field("energy"), kilo(session ? port.energy_wh : done ? last.energy_wh : 0, 3));
  put(field("power"), kilo(port.power_w, 1));
  put(field("elapsed"), duration(elapsed_s));
  put(field("clock"), elapsed_s >= 3600 ? "h:min" : "min:s");
  put(field("last"), session || done || !last ? "" : `Last session: ${kilo(last.energy_wh, 3)} kWh. ${last.text}`);
  drawList(field("faults"), port.faults.map((f) => `${f.mrec ?? f.fault}: ${f.fix}`));
  drawNotice(field("notice"), port.notice, support);
}

function drawList(list, texts) {
  if (list.dataset.key === texts.join()) return;
  list.dataset.key = texts.join();
  list.replaceChildren(...texts.map((text) => make("li", text)));
}

function draw(screen) {
  put(document.querySelector("[data-f=headline]"), screen.headline);
  put(document.querySelector("[data-f=who]"), screen.who);
  put(byId("link"), screen.link_text);
  byId("link").dataset.link = screen.link;
  put(byId("ways"), screen.ways.length ? `Start with: ${screen.ways.join(" or ")}.` : "");
  put(byId("support"), screen.support_number ? `Help: ${screen.support_number}` : "");
  const store = screen.store_ok ? "" : ` · ${screen.store_text}`;
  put(byId("about"), `Station ${screen.serial} · software ${screen.software} · ${screen.list_text}${store}`);
  const failed = screen.self_test.filter((part) => part.result === "failed" && !part.evse_id);
  drawList(byId("parts"), failed.map((part) => `${part.part} (${part.code}): ${part.text} ${part.fix}`));
  drawNotice(byId("notice"), screen.notice, screen.support_number);
  byId("ports").dataset.count = screen.ports.length;
  for (const port of screen.ports) drawPort(port, screen.support_number);
}

// -- the demo: extras = {story: [line, …], ledger: [{transaction_id, evse_id, id_token, ledger_wh, meter_wh}, …]};
//    ledger_wh null: not in the ledger yet; meter_wh null: in the ledger, but no meter knows it ------------------------

function drawDemo(extras) {
  const key = JSON.stringify(extras);
  if (byId("demo").dataset.key === key) return;
  byId("demo").dataset.key = key;
  byId("demo").hidden = false;
  document.body.classList.add("demo");
  byId("story").replaceChildren(...(extras.story ?? []).slice(-60).map((line) => make("li", line)));
  byId("story").scrollTop = byId("story").scrollHeight;
  const rows = extras.ledger ?? [];
  byId("ledger").replaceChildren(...rows.slice(-100).map(ledgerRow));
  const wrong = rows.filter((row) => mark(row) === "wrong").length, open = rows.filter((row) => mark(row) === "open").length;
  put(byId("sum"), rows.length ? `${rows.length} sessions: ${wrong} wrong, ${open} still on their way.` : "No session yet.");
  byId("sum").dataset.mark = wrong ? "wrong" : open ? "open" : "equal";
}

function mark(row) {
  if (row.ledger_wh === null) return "open";
  return row.ledger_wh === row.meter_wh ? "equal" : "wrong";
}

function ledgerRow(row) {
  const tr = document.createElement("tr");
  const kwh = (wh) => (wh === null ? "–" : kilo(wh, 3));
  const sign = { equal: "= equal", wrong: "≠ differs", open: "… on its way" }[mark(row)];
  for (const text of [row.transaction_id, row.evse_id, row.id_token]) tr.append(make("td", text));
  for (const wh of [row.ledger_wh, row.meter_wh]) tr.append(make("td", kwh(wh), "number"));
  tr.append(make("td", sign, "mark"));
  tr.dataset.mark = mark(row);
  return tr;
}

// -- the connection -------------------------------------------------------------------------------------------------

let events = null, watchdog = 0;

function isLost(lost) {
  if (lost && !document.body.classList.contains("waiting")) put(byId("lost"), "Connection to the station lost. Trying again …");
  document.body.classList.toggle("lost", lost);
}

function alive() {
  clearTimeout(watchdog);
  watchdog = setTimeout(connect, SILENCE_MS);
}

function connect() {
  if (events) { events.close(); isLost(true); }
  events = new EventSource("/events");
  events.onmessage = (message) => {
    const { screen, extras } = JSON.parse(message.data);
    draw(screen);
    if (extras) drawDemo(extras);
    document.body.classList.remove("waiting");
    isLost(false);
    alive();
  };
  events.addEventListener("alive", alive);
  events.onerror = () => {                                   // the browser retries a dropped line, not a refusal
    isLost(true);
    if (events.readyState === EventSource.CLOSED) { clearTimeout(watchdog); watchdog = setTimeout(connect, 3000); }
  };
  alive();
}

connect();
