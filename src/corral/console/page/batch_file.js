// The batch file that a form stands for, and the fields that problems with it are about.

import { listFields, listLines, readValue } from "./schema.js";
import { listNodeInputs } from "./workflow_inputs.js";

/** @typedef {import("./types.js").Engine} Engine */
/** @typedef {import("./types.js").Problem} Problem */
/** @typedef {{input: string, values: string}} Variation */
/** @typedef {{name: string, upload: string, size: number}} TaskFile */
/** @typedef {{name: string, content: Record<string, any>, notes: readonly Problem[]}} Dropped */

/**
 * Everything that the form holds, as it was typed.
 * @typedef {{engine: string, name: string, model: string, queue: string, priority: string, by: string,
 *   values: Record<string, string>, objects: Record<string, Dropped>, files: readonly TaskFile[],
 *   prompts: string, count: string, matrix: readonly Variation[]}} Draft
 */

/** What is wrong with a field; the empty name is the form itself. @typedef {{field: string, what: string, hint: string}} Fault */

const TASK = "tasks[0]";

/**
 * The batch file of a draft; `faults` has what cannot be sent, which no server needs to see.
 * @param {Draft} draft
 * @param {Engine} engine
 * @returns {{file: Record<string, unknown>, faults: Fault[]}}
 */
export function makeBatchFile(draft, engine) {
  const name = draft.name.trim() || engine.name;
  /** @type {Fault[]} */
  const faults = [];
  // What was typed for another engine stays in the draft, and is not of this one.
  const takesFiles = draft.files.length > 0 && engine.files.maximum !== 0;
  const takesPrompts = listLines(draft.prompts).length > 0 && engine.text_input !== null;
  const task = {
    name,
    engine: engine.name,
    ...given("model", draft.model),
    ...given("queue", draft.queue),
    ...given("priority", draft.priority),
    inputs: readInputs(draft, engine, faults),
    ...(takesFiles ? { files: Object.fromEntries(draft.files.map(({ name, upload }) => [name, { upload }])) } : {}),
    ...(takesPrompts ? { prompts: listLines(draft.prompts) } : {}),
    ...(draft.count.trim() ? { count: attempt("count", "number", draft.count, faults) } : {}),
    ...readMatrix(draft, engine, faults),
  };
  return { file: { apiVersion: "corral/v1", kind: "Batch", name, ...given("by", draft.by), tasks: [task] }, faults };
}

/** @param {string} name @param {string} text @returns {Record<string, string>} */
function given(name, text) {
  return text.trim() ? { [name]: text.trim() } : {};
}

/** @param {Draft} draft @param {Engine} engine @param {Fault[]} faults */
function readInputs(draft, engine, faults) {
  /** @type {Record<string, unknown>} */
  const inputs = {};
  for (const field of listFields(engine.inputs)) {
    const text = draft.values[field.name] ?? "";
    const dropped = draft.objects[field.name];
    if (engine.object_inputs.includes(field.name)) {
      if (dropped !== undefined) inputs[field.name] = dropped.content;
    } else if (text.trim()) {
      inputs[field.name] = attempt(`inputs.${field.name}`, field.kind, text, faults);
    }
  }
  return inputs;
}

/** @param {Draft} draft @param {Engine} engine @param {Fault[]} faults */
function readMatrix(draft, engine, faults) {
  const chosen = draft.matrix.filter((row) => row.input && row.values.trim());
  if (!chosen.length) return {};
  const ofNodes = engine.object_inputs.flatMap((name) => listNodeInputs(draft.objects[name]?.content ?? {}));
  const kinds = new Map([...listFields(engine.inputs), ...ofNodes].map((field) => [field.name, field.kind]));
  return {
    matrix: Object.fromEntries(
      chosen.map(({ input, values }) => {
        const kind = kinds.get(input) ?? "text"; // an input of a workflow that is not there any more
        const single = kind === "lines" ? "json" : kind;
        return [input, listLines(values).map((line) => attempt(`matrix.${input}`, single, line, faults))];
      }),
    ),
  };
}

/**
 * @param {string} field
 * @param {import("./schema.js").Field["kind"]} kind
 * @param {string} text
 * @param {Fault[]} faults
 */
function attempt(field, kind, text, faults) {
  try {
    return readValue(kind, text);
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    faults.push({ field, what: error instanceof SyntaxError ? `not JSON: ${what}` : what, hint: "" });
    return null;
  }
}

/** The faults that a server's problems are. @param {readonly Problem[]} problems @returns {Fault[]} */
export function placeProblems(problems) {
  return problems.map(({ what, where, hint }) => ({ field: findField(where ?? ""), what, hint: hint ?? "" }));
}

/** The field of the form that a place in the batch file belongs to: `inputs.seed`, `matrix.set.3.cfg`. @param {string} where */
function findField(where) {
  const path = where.startsWith(TASK) ? where.slice(TASK.length).replace(/^\./, "") : where;
  const quoted = /^matrix\["(.+?)"\]/.exec(path);
  if (quoted) return `matrix.${quoted[1]}`;
  const nested = /^(inputs|matrix)\.([A-Za-z0-9_-]+)/.exec(path);
  if (nested) return `${nested[1]}.${nested[2]}`;
  return /^(name|model|queue|priority|by|prompts|count|files|engine)\b/.exec(path)?.[1] ?? "";
}
