// What can be done to a task; shown only to those who are allowed.

import { html } from "../html.js";
import { post } from "../api.js";
import { perform } from "../notices.js";
import { go } from "../router.js";
import { canChange } from "../stores/session.js";
import { refreshWaiting } from "../stores/waiting.js";

/** @typedef {import("../types.js").Priority} Priority */

/** From first to last. @type {readonly Priority[]} */
const PRIORITIES = ["critical", "high", "normal", "low", "idle"];

/** @param {{task: number, name: string, owner: string}} properties */
export function CancelButton({ task, name, owner }) {
  if (!canChange(owner)) return null;
  const cancel = () => perform(() => post(`tasks/${task}/cancel`), `${name} is cancelled`);
  return html`<button class="small" aria-label=${`Cancel ${name}`} onClick=${cancel}>Cancel</button>`;
}

/** @param {{task: number, name: string, owner: string}} properties */
export function RetryButton({ task, name, owner }) {
  if (!canChange(owner)) return null;
  async function retry() {
    const made = await perform(() => post(`tasks/${task}/retry`), `${name} is queued again`);
    if (made !== undefined) go(`/tasks/${made.id}`);
  }
  return html`<button class="small" aria-label=${`Retry ${name}`} onClick=${retry}>Retry</button>`;
}

/** @param {{task: number, name: string, owner: string, priority: Priority}} properties */
export function PriorityChoice({ task, name, owner, priority }) {
  if (!canChange(owner)) return html`<span>${priority}</span>`;
  /** @param {Event} event */
  async function choose(event) {
    const chosen = /** @type {HTMLSelectElement} */ (event.currentTarget).value;
    await perform(() => post(`tasks/${task}/priority`, { priority: chosen }), `${name} has priority ${chosen}`);
    await refreshWaiting();
  }
  return html`<select aria-label=${`Priority of ${name}`} value=${priority} onChange=${choose}>
    ${PRIORITIES.map((word) => html`<option key=${word} value=${word}>${word}</option>`)}
  </select>`;
}
