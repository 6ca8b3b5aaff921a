// The inputs of an engine, as fields that follow from their schema: those that are required in front.

import { html } from "../html.js";
import { listFields } from "../schema.js";
import { draft, faults, setValue } from "../stores/draft.js";
import { FaultList, FormField } from "./form_field.js";
import { More } from "./more.js";
import { WorkflowField } from "./workflow.js";

/** @typedef {import("../types.js").Engine} Engine */
/** @typedef {import("../schema.js").Field} Field */

const ROWS = { text: 0, number: 0, choice: 0, long: 4, lines: 3, json: 4 };
const HELP = { text: "", number: "", choice: "", long: "", lines: "One on each line.", json: "As JSON." };

/** @param {{engine: Engine}} properties */
export function EngineInputs({ engine }) {
  const fields = listFields(engine.inputs);
  const isInFront = (/** @type {Field} */ field) =>
    field.isRequired || field.name === engine.text_input || engine.object_inputs.includes(field.name);
  const [first, more] = [fields.filter(isInFront), fields.filter((field) => !isInFront(field))];
  const isNeeded = more.some((field) => isTyped(field) || faults.value.some((fault) => fault.field === `inputs.${field.name}`));
  return html`<fieldset>
    <legend>Inputs</legend>
    <${FaultList} id="inputs" faults=${faults.value.filter((fault) => fault.field === "inputs")} />
    ${first.map((field) => html`<${InputField} key=${`${engine.name} ${field.name}`} engine=${engine} field=${field} />`)}
    ${more.length > 0 &&
    html`<${More} key=${engine.name} title=${`More inputs (${more.length})`} isNeeded=${isNeeded}>
      ${more.map((field) => html`<${InputField} key=${field.name} engine=${engine} field=${field} />`)}
    <//>`}
  </fieldset>`;
}

/** @param {Field} field */
function isTyped(field) {
  return Boolean(draft.value.values[field.name]);
}

/** @param {{engine: Engine, field: Field}} properties */
function InputField({ engine, field }) {
  const { name, kind, isRequired, initial, choices } = field;
  const wrong = faults.value.filter((fault) => fault.field === `inputs.${name}`);
  const note = [field.description, HELP[kind], initial ? `Default: ${initial}.` : ""].filter(Boolean).join(" ");
  if (engine.object_inputs.includes(name)) return html`<${WorkflowField} engine=${engine} name=${name} faults=${wrong} />`;
  return html`<${FormField}
    id=${`inputs-${name}`}
    label=${name}
    value=${draft.value.values[name] ?? ""}
    onChange=${(/** @type {string} */ text) => setValue(name, text)}
    note=${note}
    faults=${wrong}
    rows=${ROWS[kind]}
    isNumber=${kind === "number"}
    isRequired=${isRequired && !(name === engine.text_input && draft.value.prompts.trim())}
    choices=${kind === "choice" ? [["", initial ? `default (${initial})` : "not set"], ...choices.map((word) => [word, word])] : null}
  />`;
}
