// One batch and its tasks.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { formatDay } from "../format.js";
import { BatchActions, BatchBar } from "../parts/batch_bar.js";
import { TaskTable } from "../parts/task_table.js";
import { batch as shown, hideBatches, problem, showBatch } from "../stores/batches.js";
import { hideTasks, showTasks } from "../stores/tasks.js";

/** @param {{id: number}} properties */
export function BatchPage({ id }) {
  useEffect(() => {
    showBatch(id);
    showTasks(new URLSearchParams({ batch: String(id) }));
    return () => {
      hideBatches();
      hideTasks();
    };
  }, [id]);
  const batch = shown.value;
  if (problem.value) return html`<p class="warning" role="alert">${problem.value}</p>`;
  if (batch === null) return html`<p aria-busy="true">Loading</p>`;
  const { deadline, deliveries } = batch;
  return html`
    <p class="title"><strong>${batch.name}</strong> of ${batch.owner} <${BatchActions} batch=${batch} /></p>
    <${BatchBar} batch=${batch} />
    <dl>
      <dt>Made at</dt><dd>${formatDay(batch.created_at)}</dd>
      ${deadline !== null &&
      html`<dt>Deadline</dt>
        <dd>
          ${batch.by === null || batch.by === undefined ? "" : formatDay(batch.by)}: ${deadline.verdict}
          ${deadline.ready_at === null ? "" : `, ready about ${formatDay(deadline.ready_at)}`}
        </dd>`}
      ${deliveries !== null &&
      html`<dt>Outputs</dt><dd>${deliveries.written} written, ${deliveries.waiting} waiting</dd>`}
    </dl>
    ${deliveries?.problem && html`<p class="warning">${deliveries.problem.what}</p>`}
    <h2>Tasks</h2>
    <${TaskTable} />
  `;
}
