// Makes a set from its file, as JSON: first what it would make, then the set.

import { signal } from "@preact/signals";
import { html } from "../html.js";
import { post } from "../api.js";
import { formatDay } from "../format.js";
import { go } from "../router.js";
import { FormField } from "../parts/form_field.js";
import { Outcome, useAnswer } from "../cluster/asking.js";

/** @typedef {import("../types.js").SetMade} SetMade */

const EXAMPLE = {
  apiVersion: "corral/v1",
  kind: "Set",
  name: "portraits",
  characters: [{ name: "elena", look: "a woman with short red hair" }],
  shots: { portrait: "head and shoulders", smile: "smiling" },
  seeds: 2,
  task: { engine: "comfyui", inputs: { workflow: {}, prompt: "{character.look}, {shot}", seed: "{seed}" } },
};
const text = signal(JSON.stringify(EXAMPLE, null, 2));
const makesStale = signal(false);

export function MakeSet() {
  const { answer, problems, isBusy, ask } = /** @type {ReturnType<typeof useAnswer<SetMade>>} */ (useAnswer());

  /** @param {boolean} isTrial */
  async function make(isTrial) {
    await ask(async () => {
      const file = JSON.parse(text.value);
      const made = await post("sets", { file, dry_run: isTrial, remake_stale: makesStale.value });
      if (!isTrial) go(`/studio/sets/${file.name}`);
      return made;
    });
  }

  /** @param {Event} event */
  function check(event) {
    event.preventDefault();
    void make(true);
  }

  return html`<details>
    <summary>Make a set</summary>
    <form class="work" onSubmit=${check} aria-label="Set">
      <${FormField}
        id="set-file"
        label="Set file, as JSON"
        rows=${18}
        value=${text.value}
        onChange=${(/** @type {string} */ typed) => (text.value = typed)}
        note="What exists is not made again. A workflow is in its place, in ComfyUI's API format."
      />
      <label class="choice">
        <input type="checkbox" checked=${makesStale.value} onChange=${() => (makesStale.value = !makesStale.value)} />
        ${" Make stale pictures anew, too"}
      </label>
      <p>
        <button disabled=${isBusy}>Check</button>${" "}
        <button type="button" class="second" disabled=${isBusy} onClick=${() => make(false)}>Make</button>
      </p>
    </form>
    <${Outcome} problems=${problems} isBusy=${isBusy} />
    ${answer !== null && html`<p role="status">${describe(answer)}</p>`}
  </details>`;
}

/** @param {SetMade} made */
function describe({ planned, kept, stale, ends_at: endsAt }) {
  const done = endsAt === null ? "no forecast until the first is done" : `done about ${formatDay(endsAt)} at the earliest`;
  return `${planned} to make, ${kept} kept, ${stale.length} stale${planned ? `; ${done}` : ""}.`;
}
