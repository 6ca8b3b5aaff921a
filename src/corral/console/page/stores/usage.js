// Requests, tokens and seconds, summed up.

import { signal } from "@preact/signals";
import { get } from "../api.js";
import { trackNewest } from "../newest.js";

/** @typedef {import("../types.js").UsageLine} UsageLine */

/** Null until they were read. @type {import("@preact/signals").Signal<readonly UsageLine[] | null>} */
export const usage = signal(null);
/** Why they cannot be read; empty when they can. */
export const problem = signal("");
const begin = trackNewest();

/**
 * Read the sums; `since` is a day, empty for all.
 * @param {string} by
 * @param {string} since
 */
export async function readUsage(by, since) {
  const query = new URLSearchParams({ by, ...(since ? { since } : {}) });
  const isNewest = begin();
  try {
    const { items } = await get(`usage?${query}`);
    if (!isNewest()) return;
    usage.value = items;
    problem.value = "";
  } catch (error) {
    if (isNewest()) problem.value = error instanceof Error ? error.message : String(error);
  }
}
