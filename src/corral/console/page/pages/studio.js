// Sets of pictures with their progress, and one of them.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { formatDay } from "../format.js";
import { route } from "../router.js";
import { canSubmit, session } from "../stores/session.js";
import { hideSets, problem, sets, showSets } from "../stores/studio.js";
import { Table } from "../cluster/table.js";
import { MakeSet } from "../studio/making.js";
import { SetProgress, SetView, describeForecast } from "../studio/set.js";

export function StudioPage() {
  const { steps, query } = route.value;
  const [, part, name] = steps;
  const owner = query.get("owner") ?? session.value?.owner ?? "";
  if (part === "sets" && name !== undefined) return html`<${SetView} name=${name} owner=${owner} />`;
  return html`<${SetList} />`;
}

function SetList() {
  useEffect(() => {
    showSets("all");
    return hideSets;
  }, []);
  return html`
    ${canSubmit.value && html`<${MakeSet} />`}
    <h2>Sets</h2>
    ${problem.value && html`<p class="warning" role="alert">${problem.value}</p>`}
    ${sets.value === null && !problem.value && html`<p aria-busy="true">Loading</p>`}
    ${sets.value?.length === 0 && html`<p>No set was made yet.</p>`}
    ${sets.value !== null &&
    sets.value.length > 0 &&
    html`<${Table}
      label="Sets"
      columns=${["Set", "Owner", "Progress", "Stale", "Done", "Changed"]}
      rows=${sets.value.map((set) => [
        html`<a href=${`#/studio/sets/${set.name}?${new URLSearchParams({ owner: set.owner })}`}>${set.name}</a>`,
        set.owner,
        html`<${SetProgress} set=${set} />`,
        set.stale,
        describeForecast(set),
        formatDay(set.changed_at),
      ])}
    />`}
  `;
}
