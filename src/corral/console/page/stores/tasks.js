// A list of tasks that a filter chooses, page by page, and its changes.

import { signal } from "@preact/signals";
import { get } from "../api.js";
import { keepFresh } from "./fresh.js";
import { listen } from "./stream.js";

/** @typedef {import("../types.js").Task} Task */
/** @typedef {import("../types.js").Line} Line */

const PAGE = 50;

/** Null until the first page was read. @type {import("@preact/signals").Signal<readonly Task[] | null>} */
export const tasks = signal(null);
/** The cursor of the next page. @type {import("@preact/signals").Signal<string | null>} */
export const next = signal(null);
/** Why the list cannot be read; empty when it can. */
export const problem = signal("");

/** The filter as a query; null while no list is shown. @type {string | null} */
let chosen = null;

const refresh = keepFresh(async () => {
  const asked = chosen;
  if (asked === null) return;
  try {
    const page = await get(`tasks?${asked}&limit=${PAGE}`);
    if (asked !== chosen) return;
    const shown = tasks.value ?? [];
    const newest = page.items.at(-1)?.id ?? 0;
    const older = shown.length > PAGE ? shown.filter((task) => task.id < newest) : [];
    tasks.value = [...page.items, ...older];
    if (!older.length) next.value = page.next;
    problem.value = "";
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  }
});

/** Show the tasks that a query chooses. @param {URLSearchParams} query */
export function showTasks(query) {
  chosen = query.toString();
  tasks.value = null;
  next.value = null;
  void refresh();
}

export function hideTasks() {
  chosen = null;
}

export async function showMore() {
  const asked = chosen;
  if (next.value === null || asked === null) return;
  const page = await get(`tasks?${asked}&limit=${PAGE}&cursor=${next.value}`);
  if (asked !== chosen) return;
  tasks.value = [...(tasks.value ?? []), ...page.items];
  next.value = page.next;
}

listen("begun", () => void refresh());
listen("line", (/** @type {Line} */ line) => {
  if (chosen === null || line.task === null) return;
  const state = /** @type {Task["state"] | undefined} */ (line.data["state"]);
  if (state !== undefined && tasks.value?.some((task) => task.id === line.task)) {
    tasks.value = tasks.value.map((task) => (task.id === line.task ? { ...task, state } : task));
  }
  void refresh();
});
