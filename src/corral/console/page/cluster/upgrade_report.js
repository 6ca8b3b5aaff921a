// The report of a change of hardware: the advice with its reasons, and what is before and after.

import { html } from "../html.js";
import { ROOT, send } from "../api.js";
import { perform } from "../notices.js";
import { FigureView, OriginsChoice } from "./figure.js";
import { Table } from "./table.js";

/** @typedef {import("../types.js").Figure} Figure */
/** @typedef {import("../stores/hardware_changes.js").AskedChange} AskedChange */
/** @typedef {{name?: string, before: Figure | null, after: Figure | null}} Difference */

/**
 * The parts of the answer that are shown (`corral.planning.upgrade.report.record`); the page to download has all.
 * @typedef {{recommendation: {advice: string, sentence: string, reasons: {weight: string, what: string, remedy: string | null}[]},
 *   hardware: {memory: Difference, nodes: {name: string, changes: boolean, memory: Difference, tgp: Difference}[]},
 *   power: {node: string, figures: (Difference & {name: string})[], judgements: {about: string, verdict: string, what: string}[]}[],
 *   throughput: {workload: string, per_night: Difference, unknown: string[]}[],
 *   capacity: {node: string, models: {model: string, before: string, after: string}[]}[],
 *   adaptations: {about: string, before: string, after: string, why: string}[]}} Report
 */

/** @param {{report: Report, asked: readonly AskedChange[]}} properties */
export function UpgradeReport({ report, asked }) {
  const { recommendation, hardware, power, throughput, capacity, adaptations } = report;
  const nights = throughput.filter(({ per_night: { before, after } }) => before !== null || after !== null);
  const moved = capacity.flatMap(({ node, models }) =>
    models.filter(({ before, after }) => before !== after).map(({ model, before, after }) => [node, model, before, after]),
  );
  return html`<section aria-labelledby="report">
    <h2 id="report">Advice: ${recommendation.advice}</h2>
    <p>${recommendation.sentence}</p>
    <ul>
      ${recommendation.reasons.map(
        ({ weight, what, remedy }) => html`<li key=${what}>${weight}: ${what}${remedy ? html` <span class="note">${remedy}</span>` : ""}</li>`,
      )}
    </ul>
    <p class="actions"><button class="small" onClick=${() => download(asked)}>Download the whole report</button></p>
    <${OriginsChoice} />
    <h3>Memory and power</h3>
    <${Differences}
      label="Memory and power"
      rows=${[
        { name: "VRAM of the cluster", ...hardware.memory },
        ...power.flatMap(({ node, figures }) => figures.map((row) => ({ ...row, name: `${node}: ${row.name}` }))),
      ]}
    />
    ${nights.length > 0 &&
    html`<h3>In a night</h3>
      <${Differences} label="In a night" rows=${nights.map(({ workload, per_night }) => ({ ...per_night, name: workload }))} />`}
    ${moved.length > 0 &&
    html`<h3>Models that fit otherwise</h3>
      <${Table} label="Models that fit otherwise" columns=${["Node", "Model", "Before", "After"]} rows=${moved} />`}
    ${adaptations.length > 0 &&
    html`<h3>What should follow in the cluster file</h3>
      <${Table}
        label="What should follow"
        columns=${["About", "Before", "After", "Why"]}
        rows=${adaptations.map(({ about, before, after, why }) => [about, before, after, why])}
      />`}
  </section>`;
}

/** @param {{label: string, rows: readonly Difference[]}} properties */
function Differences({ label, rows }) {
  return html`<${Table}
    label=${label}
    columns=${["What", "Before", "After"]}
    rows=${rows.map(({ name, before, after }) => [
      name,
      html`<${FigureView} figure=${before} />`,
      html`<${FigureView} figure=${after} />`,
    ])}
  />`;
}

/** The report as one page that stands alone, charts included; it is a file, since nothing of it runs in the console. @param {readonly AskedChange[]} asked */
async function download(asked) {
  await perform(async () => {
    const response = await send(new URL("cluster/upgrade", ROOT), {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/html" },
      body: JSON.stringify({ changes: asked }),
    });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = "upgrade.html";
    link.click();
    URL.revokeObjectURL(link.href);
  }, "upgrade.html is written");
}
