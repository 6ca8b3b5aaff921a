// The newest batches.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { formatDay } from "../format.js";
import { BatchActions, BatchBar } from "../parts/batch_bar.js";
import { isTelling, problem as tellingProblem, startTelling, stopTelling } from "../stores/batch_ends.js";
import { batches, hideBatches, problem, showBatches } from "../stores/batches.js";

/** @typedef {import("../types.js").Batch} Batch */

export function BatchesPage() {
  useEffect(() => {
    showBatches();
    return hideBatches;
  }, []);
  if (problem.value) return html`<p class="warning" role="alert">${problem.value}</p>`;
  if (batches.value === null) return html`<p aria-busy="true">Loading</p>`;
  if (!batches.value.length) return html`<p>There is no batch yet. <code>corral submit FILE</code> makes one.</p>`;
  return html`<${Telling} />
  <div class="wide" role="region" aria-label="Batches" tabindex="0">
    <table class="cards">
      <thead>
        <tr>
          ${["Number", "Name", "Owner", "Made at", "Tasks", "Actions"].map((name) => html`<th key=${name} scope="col">${name}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${batches.value.map((batch) => html`<${BatchRow} key=${batch.id} batch=${batch} />`)}
      </tbody>
    </table>
  </div>`;
}

function Telling() {
  return html`<p>
    <label>
      <input
        type="checkbox"
        checked=${isTelling.value}
        onChange=${(/** @type {Event} */ event) => {
          const box = /** @type {HTMLInputElement} */ (event.currentTarget);
          if (!box.checked) stopTelling();
          else void startTelling().then(() => (box.checked = isTelling.value));
        }}
      />
      Notify me in this browser when a batch of mine ends
    </label>
    ${tellingProblem.value && html`<span class="warning" role="alert"> ${tellingProblem.value}</span>`}
  </p>`;
}

/** @param {{batch: Batch}} properties */
function BatchRow({ batch }) {
  return html`<tr data-batch=${batch.id}>
    <td data-label="Number">${batch.id}</td>
    <td data-label="Name"><a href=${`#/batches/${batch.id}`}>${batch.name}</a></td>
    <td data-label="Owner">${batch.owner}</td>
    <td data-label="Made at">${formatDay(batch.created_at)}</td>
    <td data-label="Tasks"><${BatchBar} batch=${batch} /></td>
    <td data-label="Actions"><${BatchActions} batch=${batch} /></td>
  </tr>`;
}
