// What would run where, layout by layout, and why not elsewhere.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { get } from "../api.js";
import { formatBytes } from "../format.js";
import { Outcome, useAnswer } from "./asking.js";
import { formatFigure } from "./figure.js";
import { Table } from "./table.js";

/** @typedef {import("../types.js").PlanAnswer} PlanAnswer */
/** @typedef {import("../types.js").LayoutPlan} LayoutPlan */

export function PlanPart() {
  const { answer, problems, isBusy, ask } = /** @type {ReturnType<typeof useAnswer<PlanAnswer>>} */ (useAnswer());
  useEffect(() => void ask(() => get("cluster/plan")), []);
  return html`
    <p class="note">By the server's cluster file as it is on disk now. Nothing is changed.</p>
    <${Outcome} problems=${problems} isBusy=${isBusy} />
    ${answer?.plans.map((plan) => html`<${Layout} key=${plan.layout} plan=${plan} />`)}
  `;
}

/** @param {{plan: LayoutPlan}} properties */
function Layout({ plan }) {
  const name = plan.layout ?? "services";
  return html`<section aria-label=${`Layout ${name}`}>
    <h2>Layout ${name}</h2>
    ${plan.warnings.map(({ where, what, hint }) => html`<p key=${`${where} ${what}`} class="warning">${where}: ${what}${hint ? ` (${hint})` : ""}</p>`)}
    ${plan.placed.length === 0 && plan.unplaced.length === 0 && html`<p>No service is in it.</p>`}
    ${plan.placed.length > 0 &&
    html`<${Table}
      label=${`What runs in ${name}`}
      columns=${["Service", "Node", "GPUs", "Memory of each", "Why there"]}
      rows=${plan.placed.map((replica) => [
        `${replica.name} #${replica.replica + 1}`,
        replica.node ?? "any",
        replica.gpus.map((index) => `gpu${index}`).join(", ") || "none",
        replica.gpus.length ? (replica.whole ? "all of it" : formatFigure(replica.memory)) : "",
        replica.why,
      ])}
    />`}
    ${plan.unplaced.map(
      (replica) => html`<details key=${`${replica.name} ${replica.replica}`}>
        <summary>
          ${replica.name} #${replica.replica + 1}:
          ${replica.takes_turns ? ` takes turns on ${replica.turns.join(", ")}` : " has no place"}
        </summary>
        <ul>
          ${replica.refusals.map(({ place, reason }) => html`<li key=${place}>${place}: ${reason}</li>`)}
        </ul>
      </details>`,
    )}
    ${plan.gpus.length > 0 &&
    html`<${Table}
      label=${`GPUs in ${name}`}
      columns=${["GPU", "Model", "Planned of usable", "For"]}
      rows=${plan.gpus.map((gpu) => [
        `${gpu.node}/gpu${gpu.index}`,
        gpu.model ?? "unknown",
        `${formatBytes(gpu.planned)} of ${formatBytes(gpu.usable)}`,
        gpu.tenants.join(", ") || "nothing",
      ])}
    />`}
  </section>`;
}
