// One task with its story and its explanation.

import { signal } from "@preact/signals";
import { get } from "../api.js";
import { keepFresh } from "./fresh.js";
import { listen } from "./stream.js";

/** @typedef {import("../types.js").Task} Task */
/** @typedef {import("../types.js").Line} Line */
/** @typedef {import("../types.js").Explanation} Explanation */

/** @type {import("@preact/signals").Signal<Task | null>} */
export const task = signal(null);
/** @type {import("@preact/signals").Signal<Explanation | null>} */
export const explanation = signal(null);
/** Oldest first. @type {import("@preact/signals").Signal<readonly Line[]>} */
export const story = signal([]);
/** Why the task cannot be read; empty when it can. */
export const problem = signal("");

/** @type {number | null} */
let shown = null;

const refresh = keepFresh(async () => {
  const id = shown;
  if (id === null) return;
  try {
    const after = story.value.at(-1)?.id ?? 0;
    const [read, reason, added] = await Promise.all([
      get(`tasks/${id}`),
      get(`tasks/${id}/explain`),
      get(`tasks/${id}/story?after=${after}`),
    ]);
    if (id !== shown) return;
    task.value = read;
    explanation.value = reason;
    addLines(added.items);
    problem.value = "";
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  }
}, 300);

/** @param {number} id */
export function showTask(id) {
  shown = id;
  task.value = explanation.value = null;
  story.value = [];
  problem.value = "";
  void refresh();
}

export function hideTask() {
  shown = null;
}

/** @param {readonly Line[]} lines */
function addLines(lines) {
  const newest = story.value.at(-1)?.id ?? 0;
  const added = lines.filter((line) => line.id > newest);
  if (added.length) story.value = [...story.value, ...added];
}

listen("begun", () => void refresh());
listen("line", (/** @type {Line} */ line) => {
  if (line.task === shown && shown !== null) void refresh();
});
