// What if: changes of hardware, with GPUs from the catalogue, and the report of what they bring.

import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { html } from "../html.js";
import { ApiError, get, post } from "../api.js";
import { formatBytes } from "../format.js";
import { FormField } from "../parts/form_field.js";
import { askedChanges, changes, setChange, WORDS } from "../stores/hardware_changes.js";
import { Outcome, useAnswer } from "./asking.js";
import { ChecklistView } from "./checklist.js";
import { UpgradeReport } from "./upgrade_report.js";

/** @typedef {import("../types.js").PowerAnswer} PowerAnswer */
/** @typedef {import("../types.js").GpuModel} GpuModel */
/** @typedef {import("../stores/hardware_changes.js").Change} Change */
/** @typedef {import("../stores/hardware_changes.js").AskedChange} AskedChange */
/** A report, and the changes that it is about: those in the form can be others by now. @typedef {{asked: readonly AskedChange[], report: import("./upgrade_report.js").Report}} Compared */

/** Of nodes and GPUs, as changes name them. @type {import("@preact/signals").Signal<readonly (readonly [string, string])[]>} */
const targets = signal([]);

export function UpgradePart() {
  const { answer, problems, isBusy, ask } = /** @type {ReturnType<typeof useAnswer<Compared>>} */ (useAnswer());
  useEffect(() => {
    readTargets().catch(() => {}); // a target can be typed, and what is wrong with the file is shown below
  }, []);

  /** @param {Event} event */
  function compare(event) {
    event.preventDefault();
    const asked = askedChanges.value;
    void ask(async () => ({ asked, report: await post("cluster/upgrade", { changes: asked }) }));
  }

  return html`
    <p class="note">Compared with the server's cluster file as it is on disk now. Nothing is changed.</p>
    <form class="work" onSubmit=${compare} aria-label="Changes">
      ${changes.value.map((change, index) => html`<${ChangeFields} key=${index} change=${change} index=${index} />`)}
      <p class="actions">
        <button disabled=${isBusy}>Compare</button>
        <button type="button" class="small" onClick=${() => (changes.value = [...changes.value, { word: "replace", target: "", value: "" }])}>
          Add a change
        </button>
        ${changes.value.length > 1 &&
        html`<button type="button" class="small" onClick=${() => (changes.value = changes.value.slice(0, -1))}>Remove the last</button>`}
      </p>
    </form>
    <${Outcome} problems=${problems} isBusy=${isBusy} />
    ${answer !== null && html`<${UpgradeReport} report=${answer.report} asked=${answer.asked} />
      <${ChecklistView} key=${JSON.stringify(answer.asked)} asked=${answer.asked} />`}
  `;
}

async function readTargets() {
  const { nodes } = /** @type {PowerAnswer} */ (await get("cluster/power"));
  targets.value = nodes.flatMap(({ node, gpus }) => [
    /** @type {const} */ ([node, node]),
    ...gpus.map(({ index, model }) => /** @type {const} */ ([`${node}/gpu${index}`, `${node}/gpu${index}: ${model ?? "unknown"}`])),
  ]);
}

/** @param {{change: Change, index: number}} properties */
function ChangeFields({ change, index }) {
  const kind = WORDS.find((known) => known.word === change.word) ?? WORDS[0];
  return html`<fieldset>
    <legend>Change ${index + 1}</legend>
    <div class="fields">
      <${FormField}
        id=${`change-${index}`}
        label="What"
        value=${change.word}
        onChange=${(/** @type {string} */ word) => setChange(index, { word })}
        choices=${WORDS.map(({ word, label }) => [word, label])}
      />
      <${FormField}
        id=${`target-${index}`}
        label="Node or GPU"
        value=${change.target}
        onChange=${(/** @type {string} */ target) => setChange(index, { target })}
        choices=${[["", "choose one"], ...targets.value]}
      />
      ${kind.value === "New GPU" && html`<${Catalogue} index=${index} value=${change.value} />`}
      ${kind.value === "Watts" &&
      html`<${FormField}
        id=${`value-${index}`}
        label=${kind.value}
        isNumber
        value=${change.value}
        onChange=${(/** @type {string} */ value) => setChange(index, { value })}
      />`}
    </div>
  </fieldset>`;
}

const PAUSE_MS = 250;
/** A word such as `radeon` has hundreds of models. */
const MOST_SUGGESTED = 40;

/** A GPU of the catalogue: names that match are offered as one types. @param {{index: number, value: string}} properties */
function Catalogue({ index, value }) {
  const [models, setModels] = useState(/** @type {readonly GpuModel[]} */ ([]));
  const [hint, setHint] = useState("");
  useEffect(() => {
    if (value.trim().length < 2) return undefined;
    const timer = setTimeout(async () => {
      try {
        setModels((await get(`gpus?name=${encodeURIComponent(value.trim())}`)).items);
        setHint("");
      } catch (error) {
        setModels([]);
        setHint(error instanceof ApiError ? `${error.message}: ${error.hint}` : "");
      }
    }, PAUSE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  const exact = models.find((model) => model.name === value.trim());
  return html`<${FormField}
    id=${`value-${index}`}
    label="New GPU"
    value=${value}
    onChange=${(/** @type {string} */ typed) => setChange(index, { value: typed })}
    suggestions=${models.slice(0, MOST_SUGGESTED).map((model) => model.name)}
    note=${exact
      ? `${formatBytes(exact.memory)}, ${exact.tdp_w ?? "unknown"} W, ${exact.bandwidth_gb_s ?? "unknown"} GB/s`
      : models.length
        ? `In the catalogue: ${models.slice(0, 8).map((model) => model.name).join(", ")}`
        : hint || "A name of the catalogue, such as RTX 5070 Ti."}
  />`;
}
