// Tells the user when batches of the user's own have ended, where this browser is asked to: lines of the story say when.

import { signal } from "@preact/signals";
import { ApiError, get } from "../api.js";
import { go } from "../router.js";
import { keepFresh } from "./fresh.js";
import { session } from "./session.js";
import { listen } from "./stream.js";

/** @typedef {import("../types.js").Batch} Batch */
/** @typedef {import("../types.js").Line} Line */

const KEPT = "corral.batch-ends";
const ENDED = ["succeeded", "failed", "cancelled"];
/** Between two looks at batches whose tasks end. */
const PAUSE_MS = 1000;

/** Whether this browser tells it. */
export const isTelling = signal(localStorage.getItem(KEPT) !== null && canTell());
/** Why it does not, though it was asked to; empty when it can. */
export const problem = signal("");

/** Batches in which a task has ended since the last look. @type {Set<number>} */
const changed = new Set();
/** Batches that are none of the user's, or whose end was told. @type {Set<number>} */
const settled = new Set();

function canTell() {
  return isSecureContext && globalThis.Notification?.permission === "granted";
}

/** Ask the browser, and remember the answer. By a press alone: browsers ignore what a page asks by itself. */
export async function startTelling() {
  problem.value = "";
  if (!isSecureContext || !globalThis.Notification) {
    problem.value = "Browsers show notifications of pages over TLS (or on this machine, by localhost) alone.";
  } else if ((await Notification.requestPermission()) !== "granted") {
    problem.value = "The browser does not let this page notify: allow it beside the address.";
  }
  isTelling.value = problem.value === "";
  if (isTelling.value) localStorage.setItem(KEPT, "true");
}

export function stopTelling() {
  localStorage.removeItem(KEPT);
  isTelling.value = false;
}

const look = keepFresh(async () => {
  for (const id of [...changed]) {
    changed.delete(id);
    try {
      settle(await get(`batches/${id}`));
    } catch (error) {
      if (error instanceof ApiError && error.status === 0) changed.add(id);
    }
  }
}, PAUSE_MS);

/** @param {Batch} batch */
function settle(batch) {
  const isOwn = batch.owner === session.value?.owner;
  if (settled.has(batch.id) || (isOwn && !batch.done)) return;
  settled.add(batch.id);
  if (isOwn) tell(batch);
}

/** @param {Batch} batch */
function tell({ id, name, states }) {
  const counts = Object.entries(states).filter(([, count]) => count > 0);
  const body = counts.map(([state, count]) => `${count} ${state}`).join(", ");
  try {
    const shown = new Notification(`Batch ${id} (${name}) has ended`, { body, tag: `corral-batch-${id}` });
    shown.onclick = () => {
      focus();
      go(`/batches/${id}`);
    };
  } catch {
    problem.value = "This browser shows no notifications of pages; other browsers do.";
    isTelling.value = false;
  }
}

listen("line", (/** @type {Line} */ line) => {
  if (!isTelling.value || line.batch === null || settled.has(line.batch)) return;
  if (!ENDED.includes(String(line.data["state"]))) return;
  changed.add(line.batch);
  void look();
});
listen("begun", () => void look());
