// The story since the page was opened, in its order: every line once.

import { signal } from "@preact/signals";
import { listen } from "./stream.js";

/** @typedef {import("../types.js").Line} Line */

/** Lines that are kept; some MB. */
export const MOST_LINES = 50_000;

/** Oldest first. The array grows in place; `storySize` changes with it. @type {Line[]} */
export const lines = [];
/** Lines seen since the page was opened, those that are not kept any more included. */
export const storySize = signal(0);

listen("line", (/** @type {Line} */ line) => {
  lines.push(line);
  if (lines.length > MOST_LINES) lines.splice(0, lines.length - MOST_LINES);
  storySize.value += 1;
});
