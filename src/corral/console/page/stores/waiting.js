// What waits, in the order in which it is expected to start; and the names of tasks that the page has met.

import { signal } from "@preact/signals";
import { get } from "../api.js";
import { keepFresh } from "./fresh.js";
import { isKnown } from "./session.js";
import { listen } from "./stream.js";

/** @typedef {import("../types.js").Task} Task */
/** @typedef {import("../types.js").WaitingTask} WaitingTask */

/** Null until it was read. @type {import("@preact/signals").Signal<{items: WaitingTask[], total: number} | null>} */
export const waiting = signal(null);

const MOST_NAMES = 5000;
/** @type {Map<number, string>} */
const names = new Map();

/** The name of a task, where the page has seen it. @param {number} task */
export function nameOf(task) {
  return names.get(task) ?? `task ${task}`;
}

/** @param {readonly Task[]} tasks */
function noteNames(tasks) {
  for (const task of tasks) names.set(task.id, task.name);
  for (const task of names.keys()) {
    if (names.size <= MOST_NAMES) break;
    names.delete(task);
  }
}

/** Between two readings: what waits changes with every task that starts. */
const PAUSE_MS = 1000;

export const refreshWaiting = keepFresh(async () => {
  if (!isKnown.value) return;
  const list = await get("waiting?limit=50");
  noteNames(list.items.map((/** @type {WaitingTask} */ item) => item.task));
  waiting.value = list;
}, PAUSE_MS);

async function readRunning() {
  const page = await get("tasks?state=running&state=leased&limit=100");
  noteNames(page.items);
  await refreshWaiting();
}

listen("begun", () => {
  readRunning().catch(() => {}); // as `keepFresh`
});
listen("line", () => void refreshWaiting());
