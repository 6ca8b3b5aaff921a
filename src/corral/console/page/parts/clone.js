// Makes a new task from one that there is, with changes.

import { useState } from "preact/hooks";
import { html } from "../html.js";
import { post } from "../api.js";
import { perform } from "../notices.js";
import { go } from "../router.js";
import { canSubmit } from "../stores/session.js";

/** @typedef {import("../types.js").Task} Task */

/** What a task has because it was made and run, and what the form changes. */
const OWN = new Set([
  ..."id batch owner needs retry_of state created_at queued_at ready_at started_at finished_at".split(" "),
  ..."attempts losses slots cancel_requested error result outputs progress not_before".split(" "),
  ..."name model inputs".split(" "),
]);

/** @param {{task: Task}} properties */
export function CloneForm({ task }) {
  const [isOpen, setOpen] = useState(false);
  const [problem, setProblem] = useState("");
  if (!canSubmit.value) return null;
  if (!isOpen) return html`<button class="small" onClick=${() => setOpen(true)}>Clone with changes</button>`;

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    let inputs;
    try {
      inputs = JSON.parse(String(form.get("inputs")));
    } catch (error) {
      setProblem(`The inputs are not JSON: ${error instanceof Error ? error.message : error}`);
      return;
    }
    setProblem("");
    const model = String(form.get("model")).trim();
    const asked = { ...keepGiven(task), name: String(form.get("name")), inputs, ...(model ? { model } : {}) };
    const made = await perform(() => post("tasks", asked), `${asked.name} is queued`);
    if (made !== undefined) go(`/tasks/${made.id}`);
  }

  return html`<form class="clone" onSubmit=${submit} aria-label=${`Clone ${task.name}`}>
    <label>Name <input name="name" required value=${task.name} /></label>
    <label>Model <input name="model" value=${task.model ?? ""} spellcheck=${false} /></label>
    <label>
      Inputs
      <textarea name="inputs" rows="10" spellcheck=${false}>${JSON.stringify(task.inputs, null, 2)}</textarea>
    </label>
    ${problem && html`<p class="warning" role="alert">${problem}</p>`}
    <p><button>Submit</button> <button type="button" class="quiet" onClick=${() => setOpen(false)}>Close</button></p>
  </form>`;
}

/** The fields of a task as it was asked for; those that are not set are left out. @param {Task} task */
function keepGiven(task) {
  return Object.fromEntries(Object.entries(task).filter(([name, value]) => !OWN.has(name) && value !== null));
}
