// A number with its unit; where it is from is shown for all of them, or for none.

import { signal } from "@preact/signals";
import { html } from "../html.js";
import { formatBytes, formatSeconds } from "../format.js";

/** @typedef {import("../types.js").Figure} Figure */

const areOriginsShown = signal(false);
const NUMBER = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 4 });

/** @param {Figure | null | undefined} figure */
export function formatFigure(figure) {
  if (figure == null) return "unknown";
  if (figure.unit === "B") return formatBytes(figure.value);
  if (figure.unit === "s") return formatSeconds(figure.value);
  return `${NUMBER.format(figure.value)} ${figure.unit}`.trim();
}

/** @param {{figure: Figure | null | undefined}} properties */
export function FigureView({ figure }) {
  return html`<span class="figure">${formatFigure(figure)}</span>
    ${figure && areOriginsShown.value && html`<span class="note"> ${figure.origin}: ${figure.source}</span>`}`;
}

export function OriginsChoice() {
  return html`<label class="choice">
    <input
      type="checkbox"
      checked=${areOriginsShown.value}
      onChange=${() => {
        areOriginsShown.value = !areOriginsShown.value;
      }}
    />
    ${" "}Show where each number is from
  </label>`;
}
