// What varies from task to task: a list of prompts, repeats with seeds of their own, values of any input.

import { html } from "../html.js";
import { listFields } from "../schema.js";
import { changeDraft, draft, faults } from "../stores/draft.js";
import { listNodeInputs } from "../workflow_inputs.js";
import { FormField } from "./form_field.js";

/** @typedef {import("../types.js").Engine} Engine */
/** @typedef {import("../batch_file.js").Variation} Variation */

/** @param {{engine: Engine}} properties */
export function Varying({ engine }) {
  const { prompts, count, matrix } = draft.value;
  const inputs = listInputs(engine);
  return html`<fieldset>
    <legend>What varies</legend>
    <p class="note">A task for each combination; leave it empty for one task.</p>
    ${engine.text_input !== null &&
    html`<${FormField}
      id="prompts"
      label="Prompts, one on each line"
      rows=${4}
      value=${prompts}
      onChange=${(/** @type {string} */ text) => changeDraft({ prompts: text })}
      note=${`Each is ${engine.text_input} of a task of its own.`}
      faults=${findFaults("prompts")}
    />`}
    <${FormField}
      id="count"
      label="How many of each"
      isNumber
      value=${count}
      onChange=${(/** @type {string} */ text) => changeDraft({ count: text })}
      note=${engine.seed_input === null ? "" : `Each has a random ${engine.seed_input} of its own, unless one is given.`}
      faults=${findFaults("count")}
    />
    ${matrix.map(
      (row, index) => html`<${Row} key=${index} row=${row} index=${index} inputs=${inputs} />`,
    )}
    <p><button type="button" class="small" onClick=${() => setRows([...matrix, { input: "", values: "" }])}>Vary an input</button></p>
  </fieldset>`;
}

/** @param {{row: Variation, index: number, inputs: readonly (readonly [string, string])[]}} properties */
function Row({ row, index, inputs }) {
  const { matrix } = draft.value;
  /** @param {Partial<Variation>} change */
  const change = (change) => setRows(matrix.map((known, place) => (place === index ? { ...known, ...change } : known)));
  return html`<div class="variation">
    <${FormField}
      id=${`vary-${index}`}
      label="Input"
      value=${row.input}
      onChange=${(/** @type {string} */ input) => change({ input })}
      choices=${[["", "choose one"], ...inputs]}
    />
    <${FormField}
      id=${`values-${index}`}
      label="Values, one on each line"
      rows=${3}
      value=${row.values}
      onChange=${(/** @type {string} */ values) => change({ values })}
      faults=${findFaults(`matrix.${row.input}`)}
    />
    <button
      type="button"
      class="small"
      aria-label=${`Remove ${row.input || "this input"}`}
      onClick=${() => setRows(matrix.filter((_, place) => place !== index))}
    >
      Remove
    </button>
  </div>`;
}

/** @param {readonly Variation[]} matrix */
function setRows(matrix) {
  changeDraft({ matrix });
}

/** @param {string} field */
function findFaults(field) {
  return faults.value.filter((fault) => fault.field === field);
}

/** The inputs that can vary, with their names for people; those of a workflow's nodes included. @param {Engine} engine */
function listInputs(engine) {
  const own = listFields(engine.inputs)
    .filter((field) => !engine.object_inputs.includes(field.name))
    .map((field) => /** @type {[string, string]} */ ([field.name, field.name]));
  const { objects } = draft.value;
  const ofNodes = engine.object_inputs
    .flatMap((name) => listNodeInputs(objects[name]?.content ?? {}))
    .map(({ name, label }) => /** @type {[string, string]} */ ([name, label]));
  return [...own, ...ofNodes];
}
