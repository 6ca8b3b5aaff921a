// A field of a form, with its label, its explanation and what is wrong with it; screen readers read all three.

import { html } from "../html.js";

/** @typedef {import("../batch_file.js").Fault} Fault */

/**
 * What is wrong with a field, beneath it. @param {{id: string, faults: readonly Fault[]}} properties
 */
export function FaultList({ id, faults }) {
  if (!faults.length) return null;
  return html`<ul class="faults" id=${`${id}-faults`}>
    ${faults.map(({ what, hint }) => html`<li key=${what}>${what}${hint ? ` (${hint})` : ""}</li>`)}
  </ul>`;
}

/** The attributes that connect a control with its texts. @param {string} id @param {string} note @param {readonly Fault[]} faults */
export function describeControl(id, note, faults) {
  const texts = [note ? `${id}-note` : "", faults.length ? `${id}-faults` : ""].filter(Boolean);
  return { id, "aria-describedby": texts.join(" ") || null, "aria-invalid": faults.length ? "true" : null };
}

/**
 * A field of one line or several, or with a choice.
 * @param {{id: string, label: string, value: string, onChange: (text: string) => void, note?: string,
 *   faults?: readonly Fault[], rows?: number, choices?: readonly (readonly [string, string])[] | null,
 *   suggestions?: readonly string[], isRequired?: boolean, isNumber?: boolean}} properties
 */
export function FormField(properties) {
  const { id, label, value, onChange, note = "", faults = [], rows = 0, choices = null } = properties;
  const { suggestions = [], isRequired = false, isNumber = false } = properties;
  const common = {
    ...describeControl(id, note, faults),
    value,
    onInput: (/** @type {Event} */ event) => onChange(/** @type {HTMLInputElement} */ (event.currentTarget).value),
    "aria-required": isRequired ? "true" : null,
  };
  return html`<div class="field">
    <label for=${id}>${label}${isRequired ? " (required)" : ""}</label>
    ${choices !== null
      ? html`<select ...${common}>
          ${choices.map(([word, text]) => html`<option key=${word} value=${word}>${text}</option>`)}
        </select>`
      : rows > 0
        ? html`<textarea ...${common} rows=${rows} spellcheck=${false}></textarea>`
        : html`<input
            ...${common}
            autocomplete="off"
            spellcheck=${false}
            inputmode=${isNumber ? "decimal" : null}
            list=${suggestions.length ? `${id}-list` : null}
          />`}
    ${suggestions.length > 0 &&
    html`<datalist id=${`${id}-list`}>${suggestions.map((word) => html`<option key=${word} value=${word} />`)}</datalist>`}
    ${note && html`<p class="note" id=${`${id}-note`}>${note}</p>`}
    <${FaultList} id=${id} faults=${faults} />
  </div>`;
}
