// The checklist of a change of hardware: boxes that administrators tick with a reason, which the server keeps.

import { signal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { html } from "../html.js";
import { post } from "../api.js";
import { FormField } from "../parts/form_field.js";
import { Outcome, useAnswer } from "./asking.js";

/** @typedef {import("../types.js").Checklist} Checklist */
/** @typedef {import("../types.js").ChecklistItem} ChecklistItem */
/** @typedef {import("../stores/hardware_changes.js").AskedChange} AskedChange */

/** The server has answers of another change. */
const OTHER = "checklist.other_upgrade";
const SETTLED = ["done", "skipped"];
const reason = signal("");

/** @param {{asked: readonly AskedChange[]}} properties */
export function ChecklistView({ asked }) {
  const { answer, problems, isBusy, ask } = /** @type {ReturnType<typeof useAnswer<Checklist>>} */ (useAnswer(true));
  const isCarrying = useRef(false);
  /** @param {Record<string, unknown>} more */
  const take = (more) => ask(() => post("cluster/checklist", { changes: asked, carry_over: isCarrying.current, ...more }));
  function carryOver() {
    isCarrying.current = true;
    void take({});
  }
  /** @param {ChecklistItem} item */
  const settle = (item) => take({ done: [item.id], reason: reason.value.trim() || null });
  const phases = [...Map.groupBy(answer?.items ?? [], (item) => item.phase)];
  return html`<section aria-labelledby="checklist" class="work">
    <h2 id="checklist">Checklist</h2>
    ${answer === null && html`<p><button class="small" disabled=${isBusy} onClick=${() => take({})}>Show the checklist</button></p>`}
    <${Outcome} problems=${problems} isBusy=${isBusy} />
    ${problems.some(({ code }) => code === OTHER) &&
    html`<p class="actions">
      <button type="button" class="small" onClick=${carryOver}>Keep the answers that still hold</button>
      <button type="button" class="small" onClick=${() => take({ restart: true })}>Begin anew</button>
    </p>`}
    ${answer !== null &&
    html`<p>${answer.items.length - answer.left.length} of ${answer.items.length} settled</p>
      <${FormField}
        id="reason"
        label="How you know that it is done"
        isRequired
        value=${reason.value}
        onChange=${(/** @type {string} */ text) => (reason.value = text)}
        note="Kept as evidence with each box that is ticked."
      />`}
    ${phases.map(
      ([phase, items]) => html`<section key=${phase} aria-label=${`Phase ${phase}`}>
        <h3>${phase}</h3>
        <ul class="lines">
          ${items.map((item) => html`<${Item} key=${item.id} item=${item} isBusy=${isBusy} onSettle=${() => settle(item)} />`)}
        </ul>
      </section>`,
    )}
  </section>`;
}

/** @param {{item: ChecklistItem, isBusy: boolean, onSettle: () => void}} properties */
function Item({ item, isBusy, onSettle }) {
  const isSettled = SETTLED.includes(item.status);
  return html`<li data-item=${item.id}>
    <label class="choice">
      <input type="checkbox" checked=${isSettled} disabled=${isSettled || isBusy || !reason.value.trim()} onChange=${onSettle} />
      ${" "}${item.title} <span class="note">${item.kind}, ${item.status}</span>
    </label>
    <details>
      <summary>Why and how</summary>
      <p>${item.why}</p>
      <pre>${item.task}</pre>
      ${item.evidence && html`<p class="note">${item.evidence}</p>`}
    </details>
  </li>`;
}
