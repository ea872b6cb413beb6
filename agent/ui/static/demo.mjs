// Below the demo's screen: its story, and the ledger beside the meters.
// extras = {story: [line, …], ledger: [{transaction_id, evse_id, id_token, ledger_wh, meter_wh}, …]}; ledger_wh null: not
// in the ledger yet; meter_wh null: in the ledger, but no meter knows it.
import { html, render } from "/vendor/htm-preact-3.1.1.mjs";

const SIGNS = { equal: "= equal", wrong: "≠ differs", open: "… on its way" };
const kwh = (wh) => (wh === null ? "–" : (wh / 1000).toFixed(3));
const mark = (row) => (row.ledger_wh === null ? "open" : row.ledger_wh === row.meter_wh ? "equal" : "wrong");

function Demo({ story = [], ledger = [] }) {
  const count = (which) => ledger.filter((row) => mark(row) === which).length;
  const sum = ledger.length ? `${ledger.length} sessions: ${count("wrong")} wrong, ${count("open")} still on their way.` : "No session yet.";
  return html`<section><h2>What happens</h2><ol class="story">${story.slice(-60).map((line, i) => html`<li key=${i}>${line}</li>`)}</ol></section>
    <section><h2>The cloud's ledger and the meters (kWh)</h2>
      <table><thead><tr><th>Session</th><th>Port</th><th>Card</th><th class="number">Ledger</th><th class="number">Meter</th><th></th></tr></thead>
        <tbody>${ledger.slice(-100).map((row) => html`<tr key=${row.transaction_id} data-mark=${mark(row)}><td>${row.transaction_id}</td><td>${row.evse_id}</td>
          <td>${row.id_token}</td><td class="number">${kwh(row.ledger_wh)}</td><td class="number">${kwh(row.meter_wh)}</td><td class="sign">${SIGNS[mark(row)]}</td></tr>`)}</tbody></table>
      <p class="sum">${sum}</p></section>`;
}

let box = null, last = "";

export function drawDemo(extras) {
  const key = JSON.stringify(extras);
  if (key === last) return;
  last = key;
  if (!box) {
    box = document.body.appendChild(document.createElement("aside"));
    box.className = "demo";
    document.documentElement.classList.add("with-demo");
    dispatchEvent(new Event("resize"));
  }
  render(html`<${Demo} ...${extras}/>`, box);
  const story = box.querySelector(".story");
  story.scrollTop = story.scrollHeight;
}
