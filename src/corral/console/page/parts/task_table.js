// Tasks as rows; on a narrow screen each is a card.

import { html } from "../html.js";
import { formatDay } from "../format.js";
import { advances } from "../stores/now.js";
import { next, problem, showMore, tasks } from "../stores/tasks.js";
import { Advance, Badge } from "./figures.js";
import { CancelButton, RetryButton } from "./task_actions.js";

/** @typedef {import("../types.js").Task} Task */

const ENDED = ["succeeded", "failed", "cancelled"];

export function TaskTable() {
  if (problem.value) return html`<p class="warning" role="alert">${problem.value}</p>`;
  if (tasks.value === null) return html`<p aria-busy="true">Loading</p>`;
  if (!tasks.value.length) return html`<p>No task is like that.</p>`;
  return html`
    <div class="wide" role="region" aria-label="Tasks" tabindex="0">
      <table class="cards">
        <thead>
          <tr>
            ${["Number", "Name", "State", "Engine", "Owner", "Made at", "Slots", "Actions"].map(
              (name) => html`<th key=${name} scope="col">${name}</th>`,
            )}
          </tr>
        </thead>
        <tbody>
          ${tasks.value.map((task) => html`<${TaskRow} key=${task.id} task=${task} />`)}
        </tbody>
      </table>
    </div>
    ${next.value !== null && html`<button onClick=${showMore}>Show older tasks</button>`}
  `;
}

/** @param {{task: Task}} properties */
function TaskRow({ task }) {
  const { id, name, owner } = task;
  const advance = advances.value.get(id);
  return html`<tr data-task=${id}>
    <td data-label="Number">${id}</td>
    <td data-label="Name"><a href=${`#/tasks/${id}`}>${name}</a></td>
    <td data-label="State">
      <${Badge} word=${task.state} />
      ${advance && html`<${Advance} label=${`Progress of ${name}`} fraction=${advance.fraction} note="" />`}
    </td>
    <td data-label="Engine">${task.engine} <span class="note">${task.model}</span></td>
    <td data-label="Owner">${owner}</td>
    <td data-label="Made at">${formatDay(task.created_at)}</td>
    <td data-label="Slots">${task.slots.join(", ")}</td>
    <td data-label="Actions">
      ${ENDED.includes(task.state)
        ? html`<${RetryButton} task=${id} name=${name} owner=${owner} />`
        : html`<${CancelButton} task=${id} name=${name} owner=${owner} />`}
    </td>
  </tr>`;
}
