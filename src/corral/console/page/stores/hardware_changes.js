// Changes of hardware that are thought about, their report and their checklist; kept while the page is open.

import { computed, signal } from "@preact/signals";

/** @typedef {{word: string, target: string, value: string}} Change */
/** A change as the API takes it. @typedef {{word: string, value: string}} AskedChange */

/** The words of `corral upgrade` that the page offers, each with what its target and its value are. */
export const WORDS = /** @type {const} */ ([
  { word: "replace", label: "Replace a GPU", value: "New GPU" },
  { word: "add", label: "Add a GPU to a node", value: "New GPU" },
  { word: "remove", label: "Remove a GPU", value: "" },
  { word: "limit", label: "Limit the power of GPUs", value: "Watts" },
  { word: "psu", label: "Change a power supply", value: "Watts" },
]);

/** @type {import("@preact/signals").Signal<readonly Change[]>} */
export const changes = signal([{ word: "replace", target: "", value: "" }]);

/** As the API takes them. */
export const askedChanges = computed(() =>
  changes.value.map(({ word, target, value }) => ({ word, value: value.trim() ? `${target}=${value.trim()}` : target })),
);

/** @param {number} index @param {Partial<Change>} change */
export function setChange(index, change) {
  changes.value = changes.value.map((known, place) => (place === index ? { ...known, ...change } : known));
}
