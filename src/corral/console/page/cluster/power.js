// Power, heat and cost of each node at full load, and whether its supply is enough.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { get } from "../api.js";
import { Outcome, useAnswer } from "./asking.js";
import { FigureView, OriginsChoice } from "./figure.js";
import { Table } from "./table.js";

/** @typedef {import("../types.js").PowerAnswer} PowerAnswer */
/** @typedef {import("../types.js").NodePower} NodePower */

export function PowerPart() {
  const { answer, problems, isBusy, ask } = /** @type {ReturnType<typeof useAnswer<PowerAnswer>>} */ (useAnswer());
  useEffect(() => void ask(() => get("cluster/power")), []);
  return html`
    <${OriginsChoice} />
    <${Outcome} problems=${problems} isBusy=${isBusy} />
    ${answer?.nodes.map((node) => html`<${Node} key=${node.node} power=${node} />`)}
  `;
}

/** @param {{power: NodePower}} properties */
function Node({ power }) {
  const { node, full, limited } = power;
  const rows = /** @type {const} */ ([
    ["GPUs", "gpus"],
    ["Whole machine", "system"],
    ["From the wall", "wall"],
    ["Peak", "peak"],
    ["Heat", "heat"],
    ["Energy of a night", "energy"],
    ["Cost of a night", "cost"],
  ]);
  return html`<section aria-label=${`Node ${node}`}>
    <h2>${node}: ${power.verdict}</h2>
    <${Table}
      label=${`Power of ${node}`}
      columns=${limited === null ? ["What", "At full load"] : ["What", "At full load", "With the file's limits"]}
      rows=${rows.map(([label, name]) => [
        label,
        html`<${FigureView} figure=${full[name]} />`,
        ...(limited === null ? [] : [html`<${FigureView} figure=${limited[name]} />`]),
      ])}
    />
    <p>Power supply: <${FigureView} figure=${power.psu} />; recommended: <${FigureView} figure=${power.recommended_psu} /></p>
    <ul>
      ${power.judgements.map(
        ({ about, verdict, what, reason }) => html`<li key=${about}>${about}: ${verdict}, ${what} <span class="note">${reason}</span></li>`,
      )}
    </ul>
    ${[...power.unknown, ...power.advice].map((sentence) => html`<p key=${sentence} class="warning">${sentence}</p>`)}
  </section>`;
}
