// Makes a new task from one that there is, with changes.

import { useState } from "preact/hooks";
import { html } from "../html.js";
import { post } from "../api.js";
import { perform } from "../notices.js";
import { go } from "../router.js";
import { canSubmit } from "../stores/session.js";

/** @typedef {import("../types.js").Task} Task */

/** What is asked of a task beside what the form changes, and its time limit. */
const GIVEN = new Set(
  "class engine files gpus labels max_attempts memory node precedence prefer_node priority queue".split(" "),
);

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

  // What was typed stays when the form is drawn again: the task gives the first values alone.
  return html`<form class="clone" onSubmit=${submit} aria-label=${`Clone ${task.name}`}>
    <label>Name <input name="name" required defaultValue=${task.name} /></label>
    <label>Model <input name="model" defaultValue=${task.model ?? ""} spellcheck=${false} /></label>
    <label>
      Inputs
      <textarea name="inputs" rows="10" spellcheck=${false} defaultValue=${JSON.stringify(task.inputs, null, 2)} />
    </label>
    ${problem && html`<p class="warning" role="alert">${problem}</p>`}
    <p><button>Submit</button> <button type="button" class="quiet" onClick=${() => setOpen(false)}>Close</button></p>
  </form>`;
}

/** The fields of a task as it was asked for; those that are not set are left out. @param {Task} task */
function keepGiven(task) {
  const given = Object.entries(task).filter(([name, value]) => GIVEN.has(name) && value !== null);
  return { ...Object.fromEntries(given), ...(task.timeout_s == null ? {} : { timeout: `${task.timeout_s}s` }) };
}
