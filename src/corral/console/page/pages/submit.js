// New work: an engine, its inputs, what varies; what it stands for and how long it takes; then it is submitted.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { BatchForecastView } from "../parts/batch_forecast.js";
import { EngineInputs } from "../parts/engine_inputs.js";
import { FormField } from "../parts/form_field.js";
import { More } from "../parts/more.js";
import { TaskFiles } from "../parts/task_files.js";
import { Varying } from "../parts/varying.js";
import { go } from "../router.js";
import { changeDraft, checkDraft, clearDraft, draft, faults, forecast, isBusy, submitDraft } from "../stores/draft.js";
import { engines, modelNames, problem, queues, readEngines } from "../stores/engines.js";
import { canSubmit, isAdmin } from "../stores/session.js";

/** @typedef {import("../types.js").Engine} Engine */

/** Its tasks wait for a program of the user's own, which `corral hold` starts; submitted alone they lend a GPU to nothing. */
const NOT_SUBMITTED = "hold";
const PRIORITIES = ["critical", "high", "normal", "low", "idle"];

export function SubmitPage() {
  useEffect(() => {
    void readEngines();
  }, []);
  if (!canSubmit.value) return html`<p>Your token can look, and not submit.</p>`;
  if (problem.value) return html`<p class="warning" role="alert">${problem.value}</p>`;
  if (engines.value === null) return html`<p aria-busy="true">Loading</p>`;
  const usable = engines.value.filter(isUsable).sort((one, other) => other.slots.length - one.slots.length);
  const engine = usable.find((known) => known.name === draft.value.engine) ?? usable[0];
  if (engine === undefined) return html`<p>No engine is on: the cluster file has them under <code>engines</code>.</p>`;

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    const button = /** @type {HTMLButtonElement | null} */ (event.submitter);
    if (button?.name === "check") return checkDraft(/** @type {Engine} */ (engine));
    const batch = await submitDraft(/** @type {Engine} */ (engine));
    if (batch !== null) go(`/batches/${batch}`);
  }

  return html`<form class="work" onSubmit=${submit} aria-label="New work" novalidate>
    <${Faults} />
    <${About} engine=${engine} usable=${usable} />
    <${EngineInputs} engine=${engine} />
    <${TaskFiles} engine=${engine} />
    <${Varying} engine=${engine} />
    <${Terms} />
    <p class="actions">
      <button name="check" class="second" disabled=${isBusy.value}>Check and forecast</button>
      <button name="go" disabled=${isBusy.value}>Submit</button>
      <button type="button" class="quiet" onClick=${clearDraft}>Clear</button>
    </p>
    ${forecast.value && html`<${BatchForecastView} forecast=${forecast.value} />`}
  </form>`;
}

/** @param {Engine} engine */
function isUsable(engine) {
  return engine.enabled && engine.name !== NOT_SUBMITTED && (isAdmin.value || !engine.admin_only);
}

/** Everything that is wrong, in front of the form; what belongs to a field is there once more. */
function Faults() {
  if (!faults.value.length) return null;
  return html`<div class="warning" role="alert">
    <p>${faults.value.length === 1 ? "One thing is wrong:" : `${faults.value.length} things are wrong:`}</p>
    <ul>
      ${faults.value.map(
        ({ field, what, hint }) => html`<li key=${`${field} ${what}`}>
          ${field ? `${field}: ` : ""}${what}${hint && !field ? ` (${hint})` : ""}
        </li>`,
      )}
    </ul>
  </div>`;
}

/** @param {{engine: Engine, usable: readonly Engine[]}} properties */
function About({ engine, usable }) {
  const { name, model } = draft.value;
  return html`<fieldset>
    <legend>Work</legend>
    <${FormField}
      id="engine"
      label="Engine"
      value=${engine.name}
      onChange=${(/** @type {string} */ word) => changeDraft({ engine: word })}
      choices=${usable.map((known) => [known.name, known.slots.length ? known.name : `${known.name} (no slot)`])}
      note=${engine.summary}
      faults=${findFaults("engine")}
    />
    <${FormField}
      id="name"
      label="Name"
      value=${name}
      onChange=${(/** @type {string} */ text) => changeDraft({ name: text })}
      note=${`${engine.name}, when left out.`}
      faults=${findFaults("name")}
    />
    <${FormField}
      id="model"
      label="Model"
      value=${model}
      onChange=${(/** @type {string} */ text) => changeDraft({ model: text })}
      suggestions=${modelNames.value.get(engine.name) ?? []}
      isRequired=${engine.needs_model}
      faults=${findFaults("model")}
    />
  </fieldset>`;
}

function Terms() {
  const { queue, priority, by } = draft.value;
  const isSet = Boolean(queue || priority || by);
  const isWrong = ["queue", "priority", "by"].some((field) => findFaults(field).length);
  return html`<${More} title="Queue, priority, deadline" isNeeded=${isSet || isWrong}>
    <${FormField}
      id="queue"
      label="Queue"
      value=${queue}
      onChange=${(/** @type {string} */ word) => changeDraft({ queue: word })}
      choices=${[["", "default"], ...queues.value.filter((word) => word !== "default").map((word) => [word, word])]}
      faults=${findFaults("queue")}
    />
    <${FormField}
      id="priority"
      label="Priority"
      value=${priority}
      onChange=${(/** @type {string} */ word) => changeDraft({ priority: word })}
      choices=${[["", "default (normal)"], ...PRIORITIES.map((word) => [word, word])]}
      faults=${findFaults("priority")}
    />
    <${FormField}
      id="by"
      label="Done by"
      value=${by}
      onChange=${(/** @type {string} */ text) => changeDraft({ by: text })}
      note="A time of the clock, 07:00, or an instant."
      faults=${findFaults("by")}
    />
  <//>`;
}

/** @param {string} field */
function findFaults(field) {
  return faults.value.filter((fault) => fault.field === field);
}
