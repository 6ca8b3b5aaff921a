// Whether a model fits: on the cluster's GPUs, or on any of the catalogue.

import { signal } from "@preact/signals";
import { html } from "../html.js";
import { post } from "../api.js";
import { formatBytes } from "../format.js";
import { FormField } from "../parts/form_field.js";
import { listLines } from "../schema.js";
import { Outcome, useAnswer } from "./asking.js";
import { FigureView, formatFigure, OriginsChoice } from "./figure.js";
import { Table } from "./table.js";

/** @typedef {import("../types.js").FitAnswer} FitAnswer */
/** @typedef {import("../types.js").ProfileAnswer} ProfileAnswer */
/** @typedef {import("../types.js").PipelineAnswer} PipelineAnswer */
/** @typedef {FitAnswer | ProfileAnswer | PipelineAnswer} AnyFit */

const model = signal("");
const context = signal("");
const parallel = signal("");
const gpus = signal("");

export function FitPart() {
  const { answer, problems, isBusy, ask } = /** @type {ReturnType<typeof useAnswer<AnyFit>>} */ (useAnswer());

  /** @param {Event} event */
  function judge(event) {
    event.preventDefault();
    const asked = {
      model: model.value.trim(),
      gpus: listLines(gpus.value),
      ...(context.value.trim() ? { context: Number(context.value) } : {}),
      ...(parallel.value.trim() ? { parallel: Number(parallel.value) } : {}),
    };
    void ask(() => post("cluster/fit", asked));
  }

  return html`
    <form class="work" onSubmit=${judge} aria-label="Model">
      <div class="fields">
        <${FormField}
          id="fit-model"
          label="Model"
          isRequired
          value=${model.value}
          onChange=${(/** @type {string} */ text) => (model.value = text)}
          note="Of the store, an Ollama name (llama3:8b), or a size (33b@q4_k_m)."
        />
        <${FormField}
          id="fit-context"
          label="Tokens of context"
          isNumber
          value=${context.value}
          onChange=${(/** @type {string} */ text) => (context.value = text)}
        />
        <${FormField}
          id="fit-parallel"
          label="Requests at the same time"
          isNumber
          value=${parallel.value}
          onChange=${(/** @type {string} */ text) => (parallel.value = text)}
        />
        <${FormField}
          id="fit-gpus"
          label="GPUs, one on each line"
          rows=${3}
          value=${gpus.value}
          onChange=${(/** @type {string} */ text) => (gpus.value = text)}
          note="Names of the catalogue, such as RTX 5070 Ti; several are judged as a split, too. Those of the cluster when left out."
        />
      </div>
      <p><button disabled=${isBusy}>Judge</button></p>
    </form>
    <${OriginsChoice} />
    <${Outcome} problems=${problems} isBusy=${isBusy} />
    ${answer !== null && html`<${Judgement} answer=${answer} />`}
  `;
}

/** @param {{answer: AnyFit}} properties */
function Judgement({ answer }) {
  if ("model" in answer) return html`<${ModelFit} answer=${answer} />`;
  const need = "memory" in answer ? answer.memory : answer.least_vram;
  const name = "profile" in answer ? answer.profile : answer.pipeline;
  return html`<section aria-labelledby="fit">
    <h2 id="fit">${name}: ${describeFit(answer.fits)}</h2>
    <p>Needs <${FigureView} figure=${need} /> on one GPU.</p>
    <${Table}
      label="Where it fits"
      columns=${["GPU", "Fits"]}
      rows=${answer.verdicts.map((verdict) => [verdict.card.name, describeFit(verdict.fits)])}
    />
  </section>`;
}

/** @param {boolean | null} fits */
function describeFit(fits) {
  return fits === null ? "unknown" : fits ? "fits" : "does not fit";
}

/** @param {{answer: FitAnswer}} properties */
function ModelFit({ answer }) {
  const { model, verdicts, quantizations } = answer;
  return html`<section aria-labelledby="fit">
    <h2 id="fit">${model.name}: ${describeFit(answer.fits)}</h2>
    <p>
      ${answer.complete ? "Needs" : "Needs at least"} ${formatBytes(answer.on_one_gpu)} on one GPU
      ${model.quantization && `, ${model.quantization}`}.
    </p>
    <${Table}
      label="Where it fits"
      columns=${["GPUs", "Fits", "Needs on each", "At most", "With a full context", "Why"]}
      rows=${verdicts.map((verdict) => [
        verdict.gpus.map((gpu) => gpu.name).join(" + "),
        describeFit(verdict.fits),
        verdict.needs.map(formatBytes).join(", "),
        html`<${FigureView} figure=${verdict.speed} />`,
        html`<${FigureView} figure=${verdict.speed_when_full} />`,
        verdict.reason,
      ])}
    />
    ${quantizations.length > 0 &&
    html`<h3>Other quantizations</h3>
      <${Table}
        label="Other quantizations"
        columns=${["Quantization", "On one GPU", "Fits on"]}
        rows=${quantizations.map(({ name, size, fits }) => [name, formatFigure(size), fits.join(", ") || "none"])}
      />`}
  </section>`;
}
