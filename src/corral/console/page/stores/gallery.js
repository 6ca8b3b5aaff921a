// Pictures that tasks made, page by page, and those that are chosen.

import { signal } from "@preact/signals";
import { ROOT, get, post } from "../api.js";
import { trackNewest } from "../newest.js";

/** @typedef {import("../types.js").Picture} Picture */
/** @typedef {Picture["decision"]} Decision */

const PAGE = 200;
/** @type {readonly NonNullable<Decision>[]} */
export const DECISIONS = ["favourite", "keep", "reject"];

/** Those of the newest tasks first; null until they were read. @type {import("@preact/signals").Signal<readonly Picture[] | null>} */
export const pictures = signal(null);
/** Why they cannot be read; empty when they can. */
export const problem = signal("");
/** Names of places (`placeOf`). @type {import("@preact/signals").Signal<ReadonlySet<string>>} */
export const chosen = signal(new Set());

let filter = "";
/** @type {string | null} */
let next = null;
let isReading = false;
const begin = trackNewest();

/** The name of a picture: its task and its output. @param {Picture} picture */
export function placeOf({ task, name }) {
  return `${task}/${name}`;
}

/** Show the pictures that a query chooses. @param {string} query */
export async function showPictures(query) {
  filter = query;
  pictures.value = null;
  chosen.value = new Set();
  next = null;
  await readPage();
}

/** Read the next page, where there is one. */
export async function showMorePictures() {
  if (next !== null && !isReading) await readPage();
}

async function readPage() {
  const isNewest = begin();
  isReading = true;
  try {
    const cursor = next === null ? "" : `&cursor=${encodeURIComponent(next)}`;
    const page = await get(`pictures?${filter}&limit=${PAGE}${cursor}`);
    if (!isNewest()) return;
    pictures.value = [...(pictures.value ?? []), ...page.items];
    next = page.next;
    problem.value = "";
  } catch (error) {
    if (!isNewest()) return;
    problem.value = error instanceof Error ? error.message : String(error);
  }
  isReading = false;
}

/** Choose a picture, or choose it no more. @param {Picture} picture */
export function toggle(picture) {
  const rest = new Set(chosen.value);
  if (!rest.delete(placeOf(picture))) rest.add(placeOf(picture));
  chosen.value = rest;
}

/**
 * Store a decision about pictures, by their places; null takes it back. They stay on the page, also where the filter has others.
 * @param {readonly string[]} places
 * @param {Decision} decision
 * @param {string} [note] left out: the notes stay as they are
 */
export async function decide(places, decision, note) {
  const { items } = await post("pictures/decisions", { of: places, decision, note });
  const decided = new Map(items.map((/** @type {Picture} */ item) => [placeOf(item), item]));
  pictures.value = (pictures.value ?? []).map((known) => decided.get(placeOf(known)) ?? known);
}

/** Where the archive of the chosen pictures is. */
export function findArchive() {
  const query = new URLSearchParams([...chosen.value].map((place) => ["of", place]));
  return new URL(`pictures/archive?${query}`, ROOT).href;
}

/** @param {Picture} picture */
export function findThumbnail({ sha256 }) {
  return new URL(`artifacts/${sha256}/thumbnail`, ROOT).href;
}
