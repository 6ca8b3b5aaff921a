// A table that scrolls by itself where it is wide, and is a card for each row on a narrow screen.

import { html } from "../html.js";

/**
 * `rows` are keyed by their first cell; cells are text or elements.
 * @param {{label: string, columns: readonly string[], rows: readonly (readonly unknown[])[]}} properties
 */
export function Table({ label, columns, rows }) {
  return html`<div class="wide" role="region" aria-label=${label} tabindex="0">
    <table class="cards">
      <thead>
        <tr>${columns.map((column) => html`<th key=${column} scope="col">${column}</th>`)}</tr>
      </thead>
      <tbody>
        ${rows.map(
          (cells, row) => html`<tr key=${row}>
            ${cells.map((cell, index) => html`<td key=${index} data-label=${columns[index]}><span>${cell}</span></td>`)}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
