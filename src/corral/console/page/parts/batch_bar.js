// How far a batch is, by the states of its tasks, and what can be done to it.

import { html } from "../html.js";
import { post } from "../api.js";
import { perform } from "../notices.js";
import { go } from "../router.js";
import { canChange } from "../stores/session.js";

/** @typedef {import("../types.js").Batch} Batch */

const ENDED = /** @type {const} */ (["succeeded", "failed", "cancelled"]);

/** @param {{batch: Batch}} properties */
export function BatchBar({ batch }) {
  const ended = ENDED.reduce((sum, state) => sum + (batch.states[state] ?? 0), 0);
  const states = Object.entries(batch.states).filter(([, count]) => count > 0);
  return html`<div class="advance">
    <progress max=${batch.task_count || 1} value=${ended} aria-label=${`Progress of batch ${batch.id}`}></progress>
    <span class="figure">${ended} of ${batch.task_count}</span>
    <span class="note">${states.map(([state, count]) => `${count} ${state}`).join(", ")}</span>
  </div>`;
}

/** @param {{batch: Batch}} properties */
export function BatchActions({ batch }) {
  const { id, owner, states } = batch;
  if (!canChange(owner)) return null;
  const cancel = () => perform(() => post(`batches/${id}/cancel`), `batch ${id} is cancelled`);
  async function retry() {
    const made = await perform(() => post(`batches/${id}/retry`), `batch ${id} is queued again`);
    if (made !== undefined) go(`/batches/${made.batch.id}`);
  }
  const canRetry = batch.done && (states.failed ?? 0) + (states.cancelled ?? 0) > 0;
  return html`<span class="actions">
    ${!batch.done && html`<button class="small" aria-label=${`Cancel batch ${id}`} onClick=${cancel}>Cancel</button>`}
    ${canRetry && html`<button class="small" aria-label=${`Retry batch ${id}`} onClick=${retry}>Retry</button>`}
  </span>`;
}
