// Usage of models: administrators see that of all, others their own.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { formatSeconds } from "../format.js";
import { replace, route } from "../router.js";
import { problem, readUsage, usage } from "../stores/usage.js";

/** @typedef {import("../types.js").UsageLine} UsageLine */

/** @type {readonly ("key" | "model" | "day" | "engine" | "door")[]} */
const GROUPS = ["key", "model", "day", "engine", "door"];
const COUNT = new Intl.NumberFormat();
const JOULES_PER_WH = 3600;

export function UsagePage() {
  const { query } = route.value;
  const by = GROUPS.find((group) => group === query.get("by")) ?? "model";
  const since = query.get("since") ?? "";
  useEffect(() => void readUsage(by, since), [by, since]);

  /** @param {Event} event */
  function choose(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    replace(`/usage?${new URLSearchParams({ by: String(form.get("by")), since: String(form.get("since")) })}`);
  }

  return html`
    <form class="filters" onChange=${choose} onSubmit=${choose} aria-label="Which usage">
      <label>
        Summed up by
        <select name="by" aria-label="Summed up by" value=${by}>
          ${GROUPS.map((group) => html`<option key=${group} value=${group}>${group}</option>`)}
        </select>
      </label>
      <label>Since <input name="since" type="date" value=${since} /></label>
    </form>
    ${problem.value && html`<p class="warning" role="alert">${problem.value}</p>`}
    ${usage.value === null && !problem.value && html`<p aria-busy="true">Loading</p>`}
    ${usage.value?.length === 0 && html`<p>Nothing was used.</p>`}
    ${usage.value !== null && usage.value.length > 0 && html`<${Table} by=${by} lines=${usage.value} />`}
  `;
}

/** @param {{by: "key" | "model" | "day" | "engine" | "door", lines: readonly UsageLine[]}} properties */
function Table({ by, lines }) {
  const columns = [by, "Requests", "Tokens read", "Tokens written", "Time on slots", "Energy"];
  return html`<div class="wide" role="region" aria-label="Usage" tabindex="0">
    <table class="cards">
      <thead>
        <tr>${columns.map((name) => html`<th key=${name} scope="col">${name}</th>`)}</tr>
      </thead>
      <tbody>
        ${lines.map(
          (line) => html`<tr key=${line[by]}>
            <td data-label=${by}>${line[by] ?? (by === "key" ? "no token" : "unknown")}</td>
            <td data-label="Requests">${COUNT.format(line.requests)}</td>
            <td data-label="Tokens read">${COUNT.format(line.prompt_tokens)}</td>
            <td data-label="Tokens written">${COUNT.format(line.completion_tokens)}</td>
            <td data-label="Time on slots">${formatSeconds(line.seconds)}</td>
            <td data-label="Energy">
              ${line.joules === null ? "not measured" : `${(line.joules / JOULES_PER_WH).toFixed(1)} Wh`}
            </td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
