// Engines with what they take, the names of models that are known, and queues; read when a form needs them.

import { signal } from "@preact/signals";
import { get } from "../api.js";

/** @typedef {import("../types.js").Engine} Engine */
/** @typedef {import("../types.js").StoredModel} StoredModel */
/** @typedef {import("../types.js").InstanceModels} InstanceModels */

/** Null until they were read. @type {import("@preact/signals").Signal<readonly Engine[] | null>} */
export const engines = signal(null);
/** Names of models by engine; servers that are away have none here. @type {import("@preact/signals").Signal<ReadonlyMap<string, readonly string[]>>} */
export const modelNames = signal(new Map());
/** @type {import("@preact/signals").Signal<readonly string[]>} */
export const queues = signal([]);
/** Why the engines cannot be read; empty when they can. */
export const problem = signal("");

export async function readEngines() {
  try {
    const [listed, queued] = await Promise.all([get("engines"), get("queues")]);
    engines.value = listed.items;
    queues.value = queued.items.map((/** @type {{name: string}} */ queue) => queue.name);
    problem.value = "";
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  }
  await Promise.all([readStored(), readHosted()]).catch(() => {}); // names of models are a help to type, no more
}

/** @param {string} engine @param {readonly string[]} names */
function addNames(engine, names) {
  const known = new Set([...(modelNames.value.get(engine) ?? []), ...names]);
  modelNames.value = new Map(modelNames.value).set(engine, [...known].sort());
}

async function readStored() {
  const stored = await get("models");
  for (const { name, engines } of /** @type {readonly StoredModel[]} */ (stored.items)) {
    for (const engine of engines) addNames(engine, [name]);
  }
}

async function readHosted() {
  const hosted = await get("models/hosted");
  for (const { engine, models } of /** @type {readonly InstanceModels[]} */ (hosted.items)) {
    addNames(engine, models.map((model) => model.name));
  }
}
