// One GPU, or one share of a processor, with its slots.

import { html } from "../html.js";
import { formatBytes, formatSince, formatUntil } from "../format.js";
import { slotsByDevice } from "../stores/now.js";
import { Meter } from "./figures.js";
import { SlotView } from "./slot.js";

/** @typedef {import("../types.js").Device} Device */
/** @typedef {import("../types.js").Slot} Slot */

/** @param {{device: Device}} properties */
export function DeviceView({ device }) {
  const slots = slotsByDevice.value.get(device.id) ?? [];
  const shown = slots.filter(isWorthALook);
  const unused = slots.filter((slot) => !isWorthALook(slot));
  return html`<section class="device" aria-label=${device.id} data-device=${device.id}>
    <h4>${device.model} <span class="note">${device.id}</span></h4>
    <${Memory} device=${device} />
    ${device.busy !== null &&
    html`<${Meter} label="Busy" value=${device.busy} max=${1} text=${`${Math.round(device.busy * 100)}%`} />`}
    ${(device.watts !== null || device.temperature !== null) &&
    html`<p class="figures">
      ${device.watts !== null && html`<span>${Math.round(device.watts)} W</span>`}
      ${device.temperature !== null && html`<span>${device.temperature} °C</span>`}
    </p>`}
    ${device.yields &&
    html`<p class="warning">
      Yields to ${device.yields.to}, for ${formatSince(device.yields.since)}
      ${device.yields.until && `, back ${formatUntil(device.yields.until)}`}
    </p>`}
    ${device.programs.length > 0 && html`<${Programs} device=${device} />`}
    ${device.blind && html`<p class="note">${device.blind}</p>`}
    <ul class="slots" aria-label=${`Slots of ${device.id}`}>
      ${shown.map((slot) => html`<${SlotView} key=${slot.id} slot=${slot} />`)}
    </ul>
    ${unused.length > 0 && html`<p class="note">Unused: ${unused.map(nameSlot).join(", ")}</p>`}
  </section>`;
}

/** Whether a slot has work, something in memory, or something that keeps it from working. @param {Slot} slot */
function isWorthALook(slot) {
  const isHeld = slot.held !== null && slot.held.kind !== "task" && slot.held.kind !== "guest";
  const isHindered = slot.problem ?? slot.caution ?? (slot.gate_reason || null);
  return slot.tasks.length > 0 || slot.resident.length > 0 || isHeld || slot.gate !== "open" || isHindered !== null;
}

/** @param {Slot} slot */
function nameSlot(slot) {
  return slot.instance === null ? slot.engine : `${slot.engine} ${slot.instance}`;
}

/** @param {{device: Device}} properties */
function Memory({ device }) {
  if (device.used === null && device.memory === null) return null;
  const text =
    device.used === null
      ? `${formatBytes(device.memory)}, use unknown`
      : `${formatBytes(device.used)} of ${formatBytes(device.memory)}`;
  return html`<${Meter} label="Memory" value=${device.used} max=${device.memory} text=${text} />`;
}

/** @param {{device: Device}} properties */
function Programs({ device }) {
  return html`<div class="programs">
    <h5>Other programs</h5>
    <ul>
      ${device.programs.map(
        (program) => html`<li key=${`${program.name} ${program.user}`}>
          ${program.name}${program.user ? ` of ${program.user}` : ""}: ${formatBytes(program.memory)}
        </li>`,
      )}
    </ul>
  </div>`;
}
