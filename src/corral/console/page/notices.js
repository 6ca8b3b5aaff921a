// What became of what the user asked for: shown at the foot of the page, and read out.

import { signal } from "@preact/signals";
import { ApiError } from "./api.js";

/** @typedef {{id: number, text: string, isError: boolean}} Notice */

const LASTS_MS = 8000;
let newest = 0;

/** @type {import("@preact/signals").Signal<readonly Notice[]>} */
export const notices = signal([]);

/**
 * Show a text for some seconds.
 * @param {string} text
 * @param {boolean} isError
 */
export function announce(text, isError) {
  const id = ++newest;
  notices.value = [...notices.value, { id, text, isError }];
  setTimeout(() => dismiss(id), isError ? 2 * LASTS_MS : LASTS_MS);
}

/** @param {number} id */
export function dismiss(id) {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

/**
 * Do what the user asked for, and say what became of it. Returns the result; undefined when it was refused.
 * @template T
 * @param {() => Promise<T>} act
 * @param {string} done
 */
export async function perform(act, done) {
  try {
    const result = await act();
    if (done) announce(done, false);
    return result;
  } catch (error) {
    const hint = error instanceof ApiError && error.hint ? ` (${error.hint})` : "";
    announce(`${error instanceof Error ? error.message : String(error)}${hint}`, true);
    return undefined;
  }
}
