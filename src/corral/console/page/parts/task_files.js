// Files that a task takes: uploaded as soon as they are chosen, so that a reload loses none.

import { useState } from "preact/hooks";
import { html } from "../html.js";
import { upload } from "../api.js";
import { formatBytes } from "../format.js";
import { changeDraft, draft, faults } from "../stores/draft.js";
import { describeControl, FaultList } from "./form_field.js";

/** @typedef {import("../types.js").Engine} Engine */

/** @param {{engine: Engine}} properties */
export function TaskFiles({ engine }) {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  if (engine.files.maximum === 0) return null;
  const wrong = faults.value.filter((fault) => fault.field === "files");

  /** @param {Event} event */
  async function take(event) {
    const field = /** @type {HTMLInputElement} */ (event.currentTarget);
    setBusy(true);
    setProblem("");
    try {
      for (const file of field.files ?? []) {
        const { sha256, size } = await upload(file);
        const others = draft.value.files.filter((known) => known.name !== file.name);
        changeDraft({ files: [...others, { name: file.name, upload: sha256, size }] });
      }
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
    setBusy(false);
    field.value = "";
  }

  return html`<fieldset>
    <legend>Files</legend>
    <div class="field">
      <label for="files">Files${engine.files.minimum > 0 ? " (required)" : ""}</label>
      <input type="file" multiple=${engine.files.maximum !== 1} disabled=${isBusy} onChange=${take} ...${describeControl("files", "files", wrong)} />
      <p class="note" id="files-note">Takes ${engine.files.summary}.</p>
      <${FaultList} id="files" faults=${wrong} />
    </div>
    ${isBusy && html`<p role="status">Uploading</p>`}
    ${problem && html`<p class="bad" role="alert">${problem}</p>`}
    <ul class="lines">
      ${draft.value.files.map(
        (file) => html`<li key=${file.name}>
          ${file.name} <span class="note">${formatBytes(file.size)}</span>${" "}
          <button
            type="button"
            class="small"
            aria-label=${`Remove ${file.name}`}
            onClick=${() => changeDraft({ files: draft.value.files.filter((known) => known !== file) })}
          >
            Remove
          </button>
        </li>`,
      )}
    </ul>
  </fieldset>`;
}
