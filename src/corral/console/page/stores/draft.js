// What the form for new work holds. It is kept in the tab, so that a reload, a refusal or a look elsewhere loses nothing.

import { effect, signal } from "@preact/signals";
import { ApiError, post } from "../api.js";
import { makeBatchFile, placeProblems } from "../batch_file.js";
import { isKnown, session } from "./session.js";

/** @typedef {import("../batch_file.js").Draft} Draft */
/** @typedef {import("../batch_file.js").Fault} Fault */
/** @typedef {import("../types.js").Engine} Engine */
/** @typedef {import("../types.js").BatchForecast} BatchForecast */

const KEPT = "corral.draft";
/** @type {Draft} */
const EMPTY = {
  engine: "",
  name: "",
  model: "",
  queue: "",
  priority: "",
  by: "",
  values: {},
  objects: {},
  files: [],
  prompts: "",
  count: "",
  matrix: [],
};

/** @type {import("@preact/signals").Signal<Draft>} */
export const draft = signal(recall());
/** What is wrong, as far as it was checked. @type {import("@preact/signals").Signal<readonly Fault[]>} */
export const faults = signal([]);
/** What the draft stands for; null until the server was asked about it as it is now. @type {import("@preact/signals").Signal<BatchForecast | null>} */
export const forecast = signal(null);
export const isBusy = signal(false);

/** Of the submission that is asked for: the same until the draft is another, so that a second click changes nothing. */
let key = makeKey();

/** A random key. `crypto.randomUUID` is not there on a page that came over plain HTTP from another machine. */
function makeKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @returns {Draft} */
function recall() {
  try {
    return { ...EMPTY, ...JSON.parse(sessionStorage.getItem(KEPT) ?? "{}") };
  } catch {
    return EMPTY;
  }
}

effect(() => {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(draft.value));
  } catch {
    // a workflow that is larger than what a tab can keep: the page still has it
  }
});
effect(() => {
  if (session.value !== null && !isKnown.value) clearDraft(); // the next user of the browser is somebody else
});

/** @param {Partial<Draft>} change */
export function changeDraft(change) {
  draft.value = { ...draft.value, ...change };
  forecast.value = null;
  key = makeKey();
}

/** @param {string} name @param {string} text */
export function setValue(name, text) {
  changeDraft({ values: { ...draft.value.values, [name]: text } });
}

export function clearDraft() {
  draft.value = EMPTY;
  faults.value = [];
  forecast.value = null;
  key = makeKey();
}

/** Have the server check the draft and estimate its end; every problem goes to its field. @param {Engine} engine */
export async function checkDraft(engine) {
  const asked = key;
  const made = await send("batches/file/forecast", engine, {});
  if (asked === key) forecast.value = made ?? null; // or it is of a draft that has changed since
}

/** Submit the draft; returns the number of the batch, null when it was refused. @param {Engine} engine @returns {Promise<number | null>} */
export async function submitDraft(engine) {
  const asked = key;
  const made = await send("batches/file", engine, { "Idempotency-Key": asked });
  if (made === undefined) return null;
  if (asked === key) clearDraft(); // or it has what was typed since
  return made.batch.id;
}

/**
 * @param {string} path
 * @param {Engine} engine
 * @param {Record<string, string>} headers
 * @returns {Promise<any>} whatever the route answers; undefined when it was refused
 */
async function send(path, engine, headers) {
  const made = makeBatchFile(draft.value, engine);
  faults.value = made.faults;
  if (made.faults.length) return undefined;
  isBusy.value = true;
  try {
    return await post(path, { file: made.file }, headers);
  } catch (error) {
    const problems = error instanceof ApiError ? (error.refusal?.problems ?? []) : [];
    const alone = { field: "", what: error instanceof Error ? error.message : String(error), hint: "" };
    faults.value = problems.length ? placeProblems(problems) : [alone];
    return undefined;
  } finally {
    isBusy.value = false;
  }
}
