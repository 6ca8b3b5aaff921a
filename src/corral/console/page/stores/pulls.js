// Models that are fetched now, with how far each is; they go on while another part of the page is shown.

import { signal } from "@preact/signals";
import { ApiError, follow } from "../api.js";

/** @typedef {import("../api.js").Step} Step */
/** @typedef {{id: number, label: string, step: Step | null, problem: string, stop: (() => void) | null}} Pull */

/** @type {import("@preact/signals").Signal<readonly Pull[]>} */
export const pulls = signal([]);
let newest = 0;

/**
 * Fetch a model into the store, or let an instance fetch it; returns whether it is there.
 * @param {string} model
 * @param {string | null} on
 */
export async function pull(model, on) {
  const id = ++newest;
  const stopping = new AbortController();
  const label = on === null ? model : `${model} on ${on}`;
  pulls.value = [...pulls.value, { id, label, step: null, problem: "", stop: () => stopping.abort() }];
  const [path, body] = on === null ? ["models/pull", { model }] : ["models/hosted/pull", { model, on }];
  try {
    await follow(path, body, (step) => change(id, { step }), stopping.signal);
    dismissPull(id);
    return true;
  } catch (error) {
    const hint = error instanceof ApiError && error.hint ? ` (${error.hint})` : "";
    const what = stopping.signal.aborted ? "stopped" : error instanceof Error ? error.message : String(error);
    change(id, { problem: `${what}${hint}`, stop: null });
    return false;
  }
}

/** @param {number} id @param {Partial<Pull>} fields */
function change(id, fields) {
  pulls.value = pulls.value.map((known) => (known.id === id ? { ...known, ...fields } : known));
}

/** @param {number} id */
export function dismissPull(id) {
  pulls.value = pulls.value.filter((known) => known.id !== id);
}
