// What waits, guests before tasks, each with its reason.

import { html } from "../html.js";
import { formatSince, formatUntil } from "../format.js";
import { guests } from "../stores/now.js";
import { waiting } from "../stores/waiting.js";
import { CancelButton, PriorityChoice } from "./task_actions.js";

/** @typedef {import("../types.js").WaitingTask} WaitingTask */
/** @typedef {import("../types.js").Guest} Guest */

export function QueueView() {
  const list = waiting.value;
  const waitingGuests = guests.value.filter((guest) => guest.slot === null);
  if (list === null) return html`<p aria-busy="true">Loading</p>`;
  const total = list.total + waitingGuests.length;
  if (total === 0) return html`<p>Nothing waits.</p>`;
  return html`
    <p class="note">${total} ${total === 1 ? "waits" : "wait"}${more(list)}</p>
    <div class="wide" role="region" aria-label="The queue" tabindex="0">
      <table class="cards">
        <thead>
          <tr>
            ${["Position", "What", "Owner", "Class", "Priority", "Expected start", "Why it waits", "Actions"].map(
              (name) => html`<th key=${name} scope="col">${name}</th>`,
            )}
          </tr>
        </thead>
        <tbody>
          ${waitingGuests.map((guest) => html`<${GuestRow} key=${`${guest.owner} ${guest.asked_at}`} guest=${guest} />`)}
          ${list.items.map((item) => html`<${TaskRow} key=${item.task.id} item=${item} />`)}
        </tbody>
      </table>
    </div>
  `;
}

/** @param {{items: WaitingTask[], total: number}} list */
function more(list) {
  const left = list.total - list.items.length;
  return left > 0 ? `; the first ${list.items.length} tasks are listed` : "";
}

/** @param {{item: WaitingTask}} properties */
function TaskRow({ item }) {
  const { task, explanation } = item;
  return html`<tr data-task=${task.id}>
    <td data-label="Position">${explanation.ahead === null ? "unknown" : explanation.ahead + 1}</td>
    <td data-label="What">
      <a href=${`#/tasks/${task.id}`}>${task.name}</a>
      <span class="note">${task.engine}${task.model ? ` ${task.model}` : ""}</span>
    </td>
    <td data-label="Owner">${task.owner}</td>
    <td data-label="Class">${task.class}</td>
    <td data-label="Priority"><${PriorityChoice} task=${task.id} name=${task.name} owner=${task.owner} priority=${task.priority} /></td>
    <td data-label="Expected start">${formatUntil(explanation.may_start_at) || "unknown"}</td>
    <td data-label="Why it waits">${explanation.summary}</td>
    <td data-label="Actions"><${CancelButton} task=${task.id} name=${task.name} owner=${task.owner} /></td>
  </tr>`;
}

/** @param {{guest: Guest}} properties */
function GuestRow({ guest }) {
  const start = guest.expected_s === null ? "unknown" : `in ${Math.ceil(guest.expected_s)} s`;
  return html`<tr>
    <td data-label="Position">${guest.ahead === null ? "unknown" : guest.ahead + 1}</td>
    <td data-label="What">${guest.label} <span class="note">request, for ${formatSince(guest.asked_at)}</span></td>
    <td data-label="Owner">${guest.owner}</td>
    <td data-label="Class">interactive</td>
    <td data-label="Priority">normal</td>
    <td data-label="Expected start">${start}</td>
    <td data-label="Why it waits">${guest.because}</td>
    <td data-label="Actions"></td>
  </tr>`;
}
