// Devices, slots and guests as they are now, and what running tasks report of themselves.

import { computed, signal } from "@preact/signals";
import { listen } from "./stream.js";

/** @typedef {import("../types.js").Device} Device */
/** @typedef {import("../types.js").Slot} Slot */
/** @typedef {import("../types.js").Guest} Guest */
/** @typedef {import("../types.js").SlotsChanged} SlotsChanged */
/** @typedef {{fraction: number | null, note: string}} Advance */

/** @type {import("@preact/signals").Signal<ReadonlyMap<string, Device>>} */
export const devices = signal(new Map());
/** @type {import("@preact/signals").Signal<ReadonlyMap<string, Slot>>} */
export const slots = signal(new Map());
/** @type {import("@preact/signals").Signal<readonly Guest[]>} */
export const guests = signal([]);
/** Whether the first look has come. */
export const isSeen = signal(false);

/** By task; of those that run. @type {import("@preact/signals").Signal<ReadonlyMap<number, Advance>>} */
export const advances = signal(new Map());
/** Addresses of pictures, by task. @type {import("@preact/signals").Signal<ReadonlyMap<number, string>>} */
export const previews = signal(new Map());

/** Nodes with their devices, in the order of their names. */
export const nodes = computed(() => {
  const grouped = Map.groupBy(devices.value.values(), (device) => device.node);
  return [...grouped].sort(([one], [other]) => one.localeCompare(other));
});

/** Slots by device. */
export const slotsByDevice = computed(() => Map.groupBy(slots.value.values(), (slot) => slot.device));

listen("slots", (/** @type {SlotsChanged} */ change) => {
  const isWhole = change.whole;
  devices.value = merge(isWhole ? new Map() : devices.value, change.devices, change.gone_devices);
  slots.value = merge(isWhole ? new Map() : slots.value, change.items, change.gone);
  if (change.guests !== null) guests.value = change.guests;
  isSeen.value = true;
});

listen("progress", (/** @type {{task: number} & Advance} */ progress) => {
  advances.value = new Map(advances.value).set(progress.task, progress);
});

listen("preview", (/** @type {{task: number, media_type: string, data_base64: string}} */ preview) => {
  if (!/^image\/(png|jpeg|webp)$/.test(preview.media_type)) return;
  const address = `data:${preview.media_type};base64,${preview.data_base64}`;
  previews.value = new Map(previews.value).set(preview.task, address);
});

listen("line", (/** @type {import("../types.js").Line} */ line) => {
  const state = line.data["state"];
  if (line.task === null || state === undefined || state === "running" || state === "leased") return;
  if (advances.value.has(line.task)) advances.value = leaveOut(advances.value, line.task);
  if (previews.value.has(line.task)) previews.value = leaveOut(previews.value, line.task);
});

/**
 * @template {{id: string}} T
 * @param {ReadonlyMap<string, T>} known
 * @param {readonly T[]} changed
 * @param {readonly string[]} gone
 */
function merge(known, changed, gone) {
  if (!changed.length && !gone.length) return known;
  const merged = new Map(known);
  for (const item of changed) merged.set(item.id, item);
  for (const id of gone) merged.delete(id);
  return merged;
}

/**
 * @template T
 * @param {ReadonlyMap<number, T>} known
 * @param {number} task
 */
function leaveOut(known, task) {
  const rest = new Map(known);
  rest.delete(task);
  return rest;
}
