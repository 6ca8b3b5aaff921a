// Models: where each is, how large, fetched and deleted with progress; of the store and of servers elsewhere.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { get, post } from "../api.js";
import { formatBytes } from "../format.js";
import { perform } from "../notices.js";
import { FormField } from "../parts/form_field.js";
import { dismissPull, pull, pulls } from "../stores/pulls.js";
import { isAdmin } from "../stores/session.js";
import { Outcome, useAnswer } from "./asking.js";
import { Table } from "./table.js";

/** @typedef {import("../types.js").ModelList} ModelList */
/** @typedef {import("../types.js").HostedModels} HostedModels */
/** @typedef {{stored: ModelList, hosted: HostedModels}} Known */

const wanted = signal("");
const place = signal("");
/** Asked for once, and deleted when it is asked for again. */
const doomed = signal("");

export function ModelsPart() {
  const { answer, problems, isBusy, ask } = /** @type {ReturnType<typeof useAnswer<Known>>} */ (useAnswer());
  const read = () => ask(readModels);
  useEffect(() => void read(), []);
  return html`
    ${isAdmin.value && html`<${PullForm} instances=${answer?.hosted.items.map(({ instance }) => instance) ?? []} onEnd=${read} />`}
    <${Pulls} />
    <${Outcome} problems=${problems} isBusy=${isBusy} />
    ${answer !== null && html`<${Stored} models=${answer.stored} onEnd=${read} />`}
    ${answer?.hosted.items.map((instance) => html`<${Instance} key=${instance.slot} instance=${instance} onEnd=${read} />`)}
  `;
}

/** @returns {Promise<Known>} */
async function readModels() {
  const [stored, hosted] = await Promise.all([get("models"), get("models/hosted")]);
  return { stored, hosted };
}

/** @param {{instances: readonly string[], onEnd: () => void}} properties */
function PullForm({ instances, onEnd }) {
  /** @param {Event} event */
  async function begin(event) {
    event.preventDefault();
    const model = wanted.value.trim();
    wanted.value = "";
    if (model && (await pull(model, place.value || null))) onEnd();
  }
  return html`<form class="work fields" onSubmit=${begin} aria-label="Fetch a model">
    <${FormField}
      id="pull-model"
      label="Model"
      isRequired
      value=${wanted.value}
      onChange=${(/** @type {string} */ text) => (wanted.value = text)}
      note="A name of the list, hf:owner/repo/file, a URL; on a server, its own name."
    />
    <${FormField}
      id="pull-place"
      label="Where"
      value=${place.value}
      onChange=${(/** @type {string} */ word) => (place.value = word)}
      choices=${[["", "the store of this server"], ...instances.map((name) => [name, name])]}
    />
    <p><button>Fetch</button></p>
  </form>`;
}

function Pulls() {
  return html`<ul class="lines">
    ${pulls.value.map(
      ({ id, label, step, problem, stop }) => html`<li key=${id} class="advance">
        <span>${label}</span>
        ${problem
          ? html`<span class="bad" role="alert">${problem}</span>
              <button type="button" class="small" aria-label=${`Dismiss ${label}`} onClick=${() => dismissPull(id)}>Dismiss</button>`
          : html`<progress max=${step?.total ?? 1} value=${step?.total && step.done !== null ? step.done : undefined} aria-label=${`Fetching ${label}`}></progress>
              <span class="note">${step?.words ?? "asked for"}${step?.done ? `, ${formatBytes(step.done)} of ${formatBytes(step.total)}` : ""}</span>
              <button type="button" class="small" aria-label=${`Stop ${label}`} onClick=${stop}>Stop</button>`}
      </li>`,
    )}
  </ul>`;
}

/** @param {{models: ModelList, onEnd: () => void}} properties */
function Stored({ models, onEnd }) {
  return html`<section aria-label="The store">
    <h2>In the store of this server</h2>
    <${Table}
      label="Models of the store"
      columns=${["Model", "Size", "Engines", "Licence", "Actions"]}
      rows=${models.items.map((model) => [
        model.name,
        formatBytes(model.size),
        model.engines.join(", "),
        model.licence ?? "unknown",
        isAdmin.value &&
        (model.path === null
          ? html`<button class="small" aria-label=${`Fetch ${model.name}`} onClick=${async () => (await pull(model.name, null)) && onEnd()}>Fetch</button>`
          : html`<${Delete} model=${model.name} on=${null} onEnd=${onEnd} />`),
      ])}
    />
  </section>`;
}

/** @param {{instance: HostedModels["items"][number], onEnd: () => void}} properties */
function Instance({ instance, onEnd }) {
  const { instance: name, slot, engine, problem, models } = instance;
  return html`<section aria-label=${name}>
    <h2>${name} <span class="note">${engine}, ${slot}</span></h2>
    ${problem && html`<p class="warning">${problem}</p>`}
    ${models.length > 0 &&
    html`<${Table}
      label=${`Models of ${name}`}
      columns=${["Model", "Size", "In memory", "Actions"]}
      rows=${models.map((model) => [
        model.name,
        formatBytes(model.size ?? null),
        model.loaded == null ? "no" : "yes",
        isAdmin.value && html`<${Delete} model=${model.name} on=${name} onEnd=${onEnd} />`,
      ])}
    />`}
  </section>`;
}

/** Deletes after a second click. @param {{model: string, on: string | null, onEnd: () => void}} properties */
function Delete({ model, on, onEnd }) {
  const name = on === null ? model : `${model} on ${on}`;
  async function remove() {
    if (doomed.value !== name) {
      doomed.value = name;
      return;
    }
    doomed.value = "";
    const [path, body] = on === null ? ["models/delete", { model }] : ["models/hosted/delete", { model, on }];
    await perform(() => post(path, body), `${name} is deleted`);
    onEnd();
  }
  const label = doomed.value === name ? "Delete it now" : "Delete";
  return html`<button class="small" aria-label=${`${label}: ${name}`} onClick=${remove}>${label}</button>`;
}
