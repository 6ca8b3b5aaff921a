// A workflow of ComfyUI: dropped on the page or chosen; one as its editor saves it is converted by the server.

import { useState } from "preact/hooks";
import { html } from "../html.js";
import { post } from "../api.js";
import { readJson } from "../schema.js";
import { changeDraft, draft } from "../stores/draft.js";
import { describeControl, FaultList } from "./form_field.js";

/** @typedef {import("../types.js").Engine} Engine */
/** @typedef {import("../types.js").Problem} Problem */
/** @typedef {import("../batch_file.js").Fault} Fault */

/** Leads to the page's own port, or says what the cluster file needs for it. */
const COMFYUI_PAGE = new URL("comfyui/", document.baseURI).href;

/** @param {{engine: Engine, name: string, faults: readonly Fault[]}} properties */
export function WorkflowField({ engine, name, faults }) {
  const [problem, setProblem] = useState("");
  const [isOver, setOver] = useState(false);
  const dropped = draft.value.objects[name];
  const id = `inputs-${name}`;
  const note = "As JSON: exported for the API, or as the editor saves it, which an instance converts.";

  /** @param {File | null | undefined} file */
  async function take(file) {
    if (file == null) return;
    setProblem("");
    try {
      const { content, notes } = await readWorkflow(engine, readJson(await file.text()));
      changeDraft({ objects: { ...draft.value.objects, [name]: { name: file.name, content, notes } } });
    } catch (error) {
      setProblem(`${file.name}: ${error instanceof Error ? error.message : error}`);
    }
  }

  /** @param {Event} event */
  async function choose(event) {
    const field = /** @type {HTMLInputElement} */ (event.currentTarget);
    await take(field.files?.[0]);
    field.value = ""; // the same file can be chosen once more
  }

  /** @param {DragEvent} event */
  function drop(event) {
    event.preventDefault();
    setOver(false);
    void take(event.dataTransfer?.files[0]);
  }

  return html`<div
    class=${`field drop ${isOver ? "over" : ""}`}
    data-drop=${name}
    onDragOver=${(/** @type {DragEvent} */ event) => {
      event.preventDefault();
      setOver(true);
    }}
    onDragLeave=${() => setOver(false)}
    onDrop=${drop}
  >
    <label for=${id}>${name} (required): drop a file here, or choose one</label>
    <input
      type="file"
      accept="application/json,.json"
      ...${describeControl(id, note, faults)}
      onChange=${choose}
    />
    <p class="note" id=${`${id}-note`}>${note}</p>
    <p class="note"><a href=${COMFYUI_PAGE} target="_blank" rel="noopener">Open ComfyUI's page</a> over all instances.</p>
    ${dropped && html`<p class="good" role="status">${dropped.name}: ${Object.keys(dropped.content).length} nodes</p>`}
    ${dropped?.notes.map(
      ({ where, what, hint }) => html`<p key=${where} class="warning">${where}: ${what}${hint ? ` (${hint})` : ""}</p>`,
    )}
    ${problem && html`<p class="bad" role="alert">${problem}</p>`}
    <${FaultList} id=${id} faults=${faults} />
  </div>`;
}

/**
 * A workflow as tasks take it, with what its editor's page would have resolved.
 * @param {Engine} engine
 * @param {any} workflow JSON from a file
 * @returns {Promise<{content: Record<string, any>, notes: readonly Problem[]}>}
 */
async function readWorkflow(engine, workflow) {
  if (typeof workflow !== "object" || workflow === null || Array.isArray(workflow)) throw new Error("the file is no workflow");
  if (!Array.isArray(workflow.nodes)) return { content: workflow, notes: [] }; // API format: keys are ids of nodes
  const converted = await post(`engines/${engine.name}/convert`, { workflow });
  return { content: converted.workflow, notes: converted.notes };
}
