// One slot: what runs on it, what it has in memory, what keeps it from working.

import { html } from "../html.js";
import { formatBytes, formatSince, formatUntil } from "../format.js";
import { advances, previews } from "../stores/now.js";
import { nameOf } from "../stores/waiting.js";
import { CancelButton } from "./task_actions.js";
import { Advance, Badge } from "./figures.js";

/** @typedef {import("../types.js").Slot} Slot */
/** @typedef {import("../types.js").Running} Running */

/** @param {{slot: Slot}} properties */
export function SlotView({ slot }) {
  const held = slot.held !== null && slot.held.kind !== "task" && slot.held.kind !== "guest" ? slot.held : null;
  const gate = slot.problem !== null ? "unhealthy" : slot.gate !== "open" ? slot.gate : "";
  return html`<li class="slot" data-slot=${slot.id}>
    <p class="title">
      <strong>${slot.engine}</strong> ${slot.instance && html`<span class="note">${slot.instance}</span>`}
      ${gate && html`<${Badge} word=${gate} />`}
    </p>
    ${slot.tasks.map((running) => html`<${RunningView} key=${running.task ?? running.started_at} running=${running} />`)}
    ${held &&
    html`<p>
      Held by ${held.task === null ? held.label : html`<a href=${`#/tasks/${held.task}`}>${held.label}</a>`} of
      ${" "}${held.owner} (${held.kind}), for ${formatSince(held.since)}
    </p>`}
    ${slot.resident.length > 0 &&
    html`<p class="note">
      In memory: ${slot.resident.map((model) => describeModel(model)).join(", ")}
    </p>`}
    ${[slot.problem, slot.gate_reason, slot.caution]
      .filter(Boolean)
      .map((text) => html`<p class="warning">${text}</p>`)}
    ${slot.opens_at && html`<p class="note">Opens ${formatUntil(slot.opens_at)}</p>`}
  </li>`;
}

/** @param {{model: string, memory: number | null}} model */
function describeModel(model) {
  return model.memory === null ? model.model : `${model.model} (${formatBytes(model.memory)})`;
}

/** @param {{running: Running}} properties */
function RunningView({ running }) {
  const ends = formatUntil(running.expected_end);
  if (running.task === null) {
    return html`<p>
      Request of ${running.owner}${running.model ? ` for ${running.model}` : ""}, for ${formatSince(running.started_at)}
    </p>`;
  }
  const name = nameOf(running.task);
  const advance = advances.value.get(running.task);
  const preview = previews.value.get(running.task);
  return html`<div class="running" data-task=${running.task}>
    <p class="row">
      <a href=${`#/tasks/${running.task}`}>${name}</a>
      <span>of ${running.owner}</span>
      ${running.model && html`<span class="note">${running.model}</span>`}
      <${CancelButton} task=${running.task} name=${name} owner=${running.owner} />
    </p>
    <${Advance} label=${`Progress of ${name}`} fraction=${advance?.fraction ?? null} note=${advance?.note ?? ""} />
    <p class="note">for ${formatSince(running.started_at)}${ends && `, done ${ends}`}</p>
    ${preview && html`<img class="preview" src=${preview} alt=${`${name} so far`} />`}
  </div>`;
}
