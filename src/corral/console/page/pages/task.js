// One task: where it is and why, what it made, its story, its log.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { formatDay, formatUntil } from "../format.js";
import { CloneForm } from "../parts/clone.js";
import { Advance, Badge } from "../parts/figures.js";
import { Outputs } from "../parts/outputs.js";
import { SlotLog } from "../parts/slot_log.js";
import { StoryRow } from "../parts/story.js";
import { CancelButton, PriorityChoice, RetryButton } from "../parts/task_actions.js";
import { advances, previews } from "../stores/now.js";
import { explanation, hideTask, problem, showTask, story, task as shown } from "../stores/task.js";

/** @typedef {import("../types.js").Task} Task */

/** @param {{id: number}} properties */
export function TaskPage({ id }) {
  useEffect(() => {
    showTask(id);
    return hideTask;
  }, [id]);
  const task = shown.value;
  if (problem.value) return html`<p class="warning" role="alert">${problem.value}</p>`;
  if (task === null) return html`<p aria-busy="true">Loading</p>`;
  return html`
    <${Summary} task=${task} />
    ${task.outputs.length > 0 &&
    html`<section aria-labelledby="outputs">
      <h2 id="outputs">Outputs</h2>
      <${Outputs} task=${task.id} outputs=${task.outputs} />
    </section>`}
    ${task.result !== null &&
    html`<section aria-labelledby="result">
      <h2 id="result">Result</h2>
      <pre tabindex="0" role="region" aria-label="Result as JSON">${JSON.stringify(task.result, null, 2)}</pre>
    </section>`}
    <section aria-labelledby="inputs">
      <h2 id="inputs">Inputs</h2>
      <pre tabindex="0" role="region" aria-label="Inputs as JSON">${JSON.stringify(task.inputs, null, 2)}</pre>
    </section>
    <section aria-labelledby="story">
      <h2 id="story">Story</h2>
      <ol class="lines">
        ${story.value.map((line) => html`<${StoryRow} key=${line.id} line=${line} />`)}
      </ol>
    </section>
    ${task.slots.map((slot) => html`<${SlotLog} key=${slot} slot=${slot} />`)}
  `;
}

/** @param {{task: Task}} properties */
function Summary({ task }) {
  const { id, name, owner, state } = task;
  const advance = advances.value.get(id) ?? task.progress;
  const preview = previews.value.get(id);
  const hasEnded = ["succeeded", "failed", "cancelled"].includes(state);
  const why = explanation.value;
  return html`
    <p class="title"><${Badge} word=${state} /> <strong>${name}</strong></p>
    ${why && html`<p>${why.summary}${why.may_start_at ? `; expected ${formatUntil(why.may_start_at)}` : ""}</p>`}
    ${advance && !hasEnded && html`<${Advance} label="Progress" fraction=${advance.fraction} note=${advance.note} />`}
    ${preview && html`<img class="preview" src=${preview} alt=${`${name} so far`} />`}
    <div class="actions">
      ${hasEnded
        ? html`<${RetryButton} task=${id} name=${name} owner=${owner} />`
        : html`<${CancelButton} task=${id} name=${name} owner=${owner} />`}
      <${CloneForm} key=${id} task=${task} />
    </div>
    ${task.error &&
    html`<p class="warning">${task.error.what}${task.error.hint ? ` (${task.error.hint})` : ""}</p>`}
    <dl>
      <dt>Engine</dt><dd>${task.engine}${task.model ? `, ${task.model}` : ""}</dd>
      <dt>Owner</dt><dd>${owner}</dd>
      ${task.batch !== null && html`<dt>Batch</dt><dd><a href=${`#/batches/${task.batch}`}>batch ${task.batch}</a></dd>`}
      ${task.retry_of !== null && html`<dt>Retry of</dt><dd><a href=${`#/tasks/${task.retry_of}`}>task ${task.retry_of}</a></dd>`}
      <dt>Queue</dt><dd>${task.queue}, ${task.class}</dd>
      <dt>Priority</dt>
      <dd>
        ${state === "waiting" || state === "queued"
          ? html`<${PriorityChoice} task=${id} name=${name} owner=${owner} priority=${task.priority} />`
          : task.priority}
      </dd>
      <dt>Made at</dt><dd>${formatDay(task.created_at)}</dd>
      ${task.finished_at !== null && html`<dt>Ended at</dt><dd>${formatDay(task.finished_at)}</dd>`}
      ${task.slots.length > 0 && html`<dt>Slots</dt><dd>${task.slots.join(", ")}</dd>`}
    </dl>
  `;
}
