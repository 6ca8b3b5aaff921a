// A set: how far it is, when it would be done, its pictures with their takes, what is stale, and its measures.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { ROOT } from "../api.js";
import { formatDay, formatUntil } from "../format.js";
import { perform } from "../notices.js";
import { replace, route } from "../router.js";
import { canChange } from "../stores/session.js";
import { cancelSet, hideSets, isOpen, problem, rejectPicture, showSets, whole } from "../stores/studio.js";
import { Table } from "../cluster/table.js";
import { Measures, SETTINGS } from "./measures.js";

/** @typedef {import("../types.js").PictureSet} PictureSet */
/** @typedef {import("../types.js").SetPicture} SetPicture */
/** @typedef {import("../types.js").StalePicture} StalePicture */

const STATES = ["open", "accepted", "rejected", "failed", "cancelled"];
/** States of pictures that a person can have made again; those that failed are made when the set is made again. */
const REMADE = ["accepted", "rejected"];

/** @param {{name: string, owner: string}} properties */
export function SetView({ name, owner }) {
  const { query } = route.value;
  const state = query.get("state") ?? "";
  const by = SETTINGS.find((setting) => setting === query.get("by")) ?? "shot";
  useEffect(() => showSets({ name, owner, state, by }), [name, owner, state, by]);
  useEffect(() => hideSets, []);

  /** @param {Event} event */
  function choose(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    const given = [...form].map(([field, value]) => [field, String(value)]).filter(([, value]) => value);
    replace(`/studio/sets/${name}?${new URLSearchParams([["owner", owner], ...given])}`);
  }

  if (whole.value === null) {
    return problem.value ? html`<p class="warning" role="alert">${problem.value}</p>` : html`<p aria-busy="true">Loading</p>`;
  }
  const { set, pictures, hasMore, stale, groups } = whole.value;
  return html`
    ${problem.value && html`<p class="warning" role="alert">${problem.value}</p>`}
    <p class="title">
      <strong>${set.name}</strong> of ${set.owner}
      ${isOpen(set) && canChange(set.owner) &&
      html`<button class="small" onClick=${() => perform(() => cancelSet(set), `${set.name} is cancelled`)}>Cancel the set</button>`}
    </p>
    <${SetProgress} set=${set} />
    <p>${describeForecast(set)}. ${set.takes} made, ${set.remade} of them again.</p>
    <form class="filters" onChange=${choose} onSubmit=${choose} aria-label="Which pictures, and how they are grouped">
      <label>
        State
        <select name="state" aria-label="State" value=${state}>
          <option value="">any</option>
          ${STATES.map((word) => html`<option key=${word} value=${word}>${word}</option>`)}
        </select>
      </label>
      <label>
        Grouped by
        <select name="by" aria-label="Grouped by" value=${by}>
          ${SETTINGS.map((word) => html`<option key=${word} value=${word}>${word}</option>`)}
        </select>
      </label>
    </form>
    <${Measures} by=${by} groups=${groups} />
    ${stale.length > 0 && html`<${Stale} stale=${stale} />`}
    <h2>Pictures</h2>
    ${pictures.length === 0 && html`<p>None is in this state.</p>`}
    <ul class="takes">
      ${pictures.map((picture) => html`<${PictureOfSet} key=${picture.key} set=${set} picture=${picture} />`)}
    </ul>
    ${hasMore && html`<p>The first ${pictures.length} are shown; a state chooses among more.</p>`}
  `;
}

/** How many pictures have ended, and how. @param {{set: PictureSet}} properties */
export function SetProgress({ set }) {
  const states = STATES.map((state) => /** @type {const} */ ([state, set.states[state] ?? 0])).filter(([, count]) => count > 0);
  return html`<div class="advance">
    <progress max=${set.pictures || 1} value=${set.states.accepted ?? 0} aria-label=${`Progress of ${set.name}`}></progress>
    <span class="figure">${set.states.accepted ?? 0} of ${set.pictures}</span>
    <span class="note">${states.map(([state, count]) => `${count} ${state}`).join(", ")}</span>
  </div>`;
}

/** @param {PictureSet} set */
export function describeForecast({ forecast }) {
  if (forecast.pictures === 0) return "Nothing is left to make";
  const takes = `About ${forecast.expected_takes} more to make`;
  return forecast.ends_at === null
    ? `${takes}, no forecast until the first is done`
    : `${takes}, done ${formatUntil(forecast.ends_at)} (${formatDay(forecast.ends_at)}) at the earliest`;
}

/** @param {{stale: readonly StalePicture[]}} properties */
function Stale({ stale }) {
  return html`<section aria-label="Stale pictures">
    <h2>Stale pictures</h2>
    <p>They would be made otherwise now: make the set with <em>Make stale pictures anew, too</em>.</p>
    <${Table} label="Stale" columns=${["Picture", "Changed"]} rows=${stale.map(({ key, changed }) => [key, changed.join(", ")])} />
  </section>`;
}

/** @param {{set: PictureSet, picture: SetPicture}} properties */
function PictureOfSet({ set, picture }) {
  const { key, state, takes } = picture;
  const last = takes.at(-1);
  const image = takes.findLast((take) => take.sha256 !== null);
  const reject = () => perform(() => rejectPicture(set, key), `${key} is made again`);
  return html`<li data-key=${key} data-state=${state}>
    ${image !== undefined &&
    html`<img src=${new URL(`artifacts/${image.sha256}/thumbnail`, ROOT).href} alt=${`${key}, take ${image.number}`} loading="lazy" />`}
    <strong>${key}</strong>
    <span class="row">
      <span class=${`badge ${state}`}>${state}</span>
      ${last !== undefined && (last.task === null ? `take ${last.number}` : html`<a href=${`#/tasks/${last.task}`}>take ${last.number}</a>`)}
      ${REMADE.includes(state) && canChange(set.owner) &&
      html`<button class="small" aria-label=${`Reject ${key}`} onClick=${reject}>Reject</button>`}
    </span>
    ${takes.filter((take) => take.reasons.length).map((take) => html`<span class="note" key=${take.number}>Take ${take.number}: ${take.reasons.join("; ")}</span>`)}
  </li>`;
}
