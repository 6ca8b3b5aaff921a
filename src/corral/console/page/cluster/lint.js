// Lints a manifest that is pasted: Kubernetes, Compose, Nix, LiteLLM, or such blocks in Markdown.

import { signal } from "@preact/signals";
import { html } from "../html.js";
import { post } from "../api.js";
import { FormField } from "../parts/form_field.js";
import { Outcome, useAnswer } from "./asking.js";

/** @typedef {import("../types.js").LintAnswer} LintAnswer */

const text = signal("");
const name = signal("pasted.yaml");
const NAMES = ["pasted.yaml", "compose.yaml", "litellm.yaml", "configuration.nix", "pasted.md"];

export function LintPart() {
  const { answer, problems, isBusy, ask } = /** @type {ReturnType<typeof useAnswer<LintAnswer>>} */ (useAnswer());

  /** @param {Event} event */
  function lint(event) {
    event.preventDefault();
    void ask(() => post("lint", { files: [{ name: name.value, text: text.value }] }));
  }

  return html`
    <form class="work" onSubmit=${lint} aria-label="Manifest">
      <${FormField}
        id="lint-name"
        label="Name of the file"
        value=${name.value}
        onChange=${(/** @type {string} */ word) => (name.value = word)}
        suggestions=${NAMES}
        note="It says what the text is."
      />
      <${FormField} id="lint-text" label="Text" rows=${14} value=${text.value} onChange=${(/** @type {string} */ typed) => (text.value = typed)} />
      <p><button disabled=${isBusy}>Lint</button></p>
    </form>
    <${Outcome} problems=${problems} isBusy=${isBusy} />
    ${answer !== null && html`<${Findings} answer=${answer} />`}
  `;
}

/** @param {{answer: LintAnswer}} properties */
function Findings({ answer }) {
  const { findings, unread } = answer;
  return html`<section aria-labelledby="findings">
    <h2 id="findings">${findings.length === 1 ? "1 finding" : `${findings.length} findings`}</h2>
    <ul class="lines findings">
      ${findings.map(
        (finding) => html`<li key=${`${finding.rule} ${finding.line} ${finding.column}`}>
          <span class=${`badge ${finding.severity}`}>${finding.severity}</span>${" "}
          <strong>${finding.rule}</strong> line ${finding.line}: ${finding.what}
          <p class="note">${finding.practice} Fix: ${finding.fix}</p>
        </li>`,
      )}
    </ul>
    ${unread.map(({ line, why }) => html`<p key=${`${line} ${why}`} class="warning">Not judged, line ${line}: ${why}</p>`)}
  </section>`;
}
