// The doctor's findings on the server's machine, the worst in front.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { get } from "../api.js";
import { Outcome, useAnswer } from "./asking.js";

/** @typedef {import("../types.js").DoctorAnswer} DoctorAnswer */

const ORDER = ["error", "warning", "unknown", "ok"];

export function DoctorPart() {
  const { answer, problems, isBusy, ask } = /** @type {ReturnType<typeof useAnswer<DoctorAnswer>>} */ (useAnswer());
  const examine = () => ask(() => get("doctor"));
  useEffect(() => void examine(), []);
  const findings = [...(answer?.items ?? [])].sort((one, other) => ORDER.indexOf(one.state) - ORDER.indexOf(other.state));
  return html`
    <p><button disabled=${isBusy} onClick=${examine}>Examine again</button></p>
    <${Outcome} problems=${problems} isBusy=${isBusy} />
    <ul class="lines findings">
      ${findings.map(
        ({ name, state, what, fix }) => html`<li key=${`${name} ${what}`}>
          <span class=${`badge ${state}`}>${state}</span> <strong>${name}</strong>: ${what}
          ${fix && html`<p class="note">Fix: ${fix}</p>`}
        </li>`,
      )}
    </ul>
  `;
}
