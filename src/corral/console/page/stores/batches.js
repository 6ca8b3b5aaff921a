// Batches, newest first, and one of them by its number.

import { signal } from "@preact/signals";
import { get } from "../api.js";
import { keepFresh } from "./fresh.js";
import { listen } from "./stream.js";

/** @typedef {import("../types.js").Batch} Batch */

/** Null until they were read. @type {import("@preact/signals").Signal<readonly Batch[] | null>} */
export const batches = signal(null);
/** @type {import("@preact/signals").Signal<Batch | null>} */
export const batch = signal(null);
/** Why they cannot be read; empty when they can. */
export const problem = signal("");

/** The number of the batch that is shown; 0 is all of them, null none. @type {number | null} */
let shown = null;

const refresh = keepFresh(async () => {
  const id = shown;
  if (id === null) return;
  try {
    const answer = await get(id === 0 ? "batches?limit=50" : `batches/${id}`);
    if (id !== shown) return;
    if (id === 0) batches.value = answer.items;
    else batch.value = answer;
    problem.value = "";
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  }
});

export function showBatches() {
  shown = 0;
  void refresh();
}

/** @param {number} id */
export function showBatch(id) {
  shown = id;
  batch.value = null;
  problem.value = "";
  void refresh();
}

export function hideBatches() {
  shown = null;
}

listen("begun", () => void refresh());
listen("line", (/** @type {import("../types.js").Line} */ line) => {
  if (shown !== null && line.batch !== null && (shown === 0 || shown === line.batch)) void refresh();
});
