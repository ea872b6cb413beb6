// Where the station is, in figures: a map can be drawn here.
import { html } from "/vendor/htm-preact-3.1.1.mjs";

export function MapView({ map }) {
  const figures = map.latitude === null ? "–" : `${map.latitude.toFixed(6)}, ${map.longitude.toFixed(6)}`;
  return html`<div class="map"><p class="lead" dir="ltr">${figures}</p><p>${map.text}</p></div>`;
}
