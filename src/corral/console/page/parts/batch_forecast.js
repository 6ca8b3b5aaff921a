// What a form stands for before it is submitted: how many tasks, which, and when they would be done.

import { html } from "../html.js";
import { formatDay, formatUntil, formatWord } from "../format.js";

/** @typedef {import("../types.js").BatchForecast} BatchForecast */

/** @param {{forecast: BatchForecast}} properties */
export function BatchForecastView({ forecast }) {
  const { tasks, task_count: count, deadline, caution } = forecast;
  return html`<section class="forecast" aria-labelledby="forecast" role="status">
    <h2 id="forecast">${count === 1 ? "1 task" : `${count} tasks`}</h2>
    ${caution && html`<p class="warning">${caution.what}${caution.hint ? ` (${caution.hint})` : ""}</p>`}
    <dl>
      <dt>Done, if it goes first</dt><dd><${Instant} at=${forecast.ready_at} unknown=${forecast.unknown} /></dd>
      <dt>Done, after all that waits now</dt><dd><${Instant} at=${forecast.ready_after_all} unknown=${forecast.unknown} /></dd>
      ${deadline !== null && html`<dt>Deadline</dt><dd>${formatWord(deadline.verdict)} (${deadline.time_zone})</dd>`}
    </dl>
    <ol class="lines">
      ${tasks.map(
        (task) => html`<li key=${task.name}>
          <strong>${task.name}</strong> <span class="note">${describeInputs(task.inputs)}</span>
        </li>`,
      )}
    </ol>
    ${count > tasks.length && html`<p class="note">and ${count - tasks.length} more</p>`}
  </section>`;
}

/** @param {{at: string | null, unknown: string | null}} properties */
function Instant({ at, unknown }) {
  if (at === null) return html`unknown: ${unknown ?? "something that waits was never measured here"}`;
  return html`${formatUntil(at)}, at ${formatDay(at)}`;
}

const MOST_TEXT = 160;

/** @param {Record<string, unknown>} inputs */
function describeInputs(inputs) {
  const text = Object.entries(inputs)
    .map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(", ");
  return text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}...` : text;
}
