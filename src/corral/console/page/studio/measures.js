// Which settings give pictures that are kept: a bar for each value of a setting, with the mean of each measure.

import { html } from "../html.js";
import { Table } from "../cluster/table.js";
import { Meter } from "../parts/figures.js";

/** @typedef {import("../types.js").SettingGroup} SettingGroup */

export const SETTINGS = /** @type {const} */ (["model", "sampler", "lora", "seed", "character", "shot", "variant"]);

/** @param {{by: string, groups: readonly SettingGroup[]}} properties */
export function Measures({ by, groups }) {
  if (groups.length === 0) return html`<p>No picture was judged yet.</p>`;
  const measures = [...new Set(groups.flatMap(({ means }) => Object.keys(means)))].sort();
  return html`<section aria-labelledby="measures">
    <h2 id="measures">Which ${by} gives pictures that are kept</h2>
    <${Table}
      label="Measures"
      columns=${[by, "Kept", ...measures]}
      rows=${groups.map(({ value, takes, accepted, share, means }) => [
        value,
        html`<${Meter}
          label=${`Kept of ${value}`}
          value=${share}
          max=${1}
          text=${`${Math.round(100 * share)}%, ${accepted} of ${takes}`}
        />`,
        ...measures.map((name) => means[name] ?? ""),
      ])}
    />
  </section>`;
}
