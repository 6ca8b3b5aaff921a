// Sets of pictures: all of them, and one with its pictures, what is stale, and which settings give pictures that are kept.

import { signal } from "@preact/signals";
import { get, post } from "../api.js";
import { keepFresh } from "./fresh.js";
import { listen } from "./stream.js";

/** @typedef {import("../types.js").PictureSet} PictureSet */
/** @typedef {import("../types.js").SetPicture} SetPicture */
/** @typedef {import("../types.js").StalePicture} StalePicture */
/** @typedef {import("../types.js").SettingGroup} SettingGroup */
/** @typedef {{set: PictureSet, pictures: readonly SetPicture[], hasMore: boolean, stale: readonly StalePicture[],
 *   groups: readonly SettingGroup[]}} WholeSet */
/** What is shown: of a set its name and owner, the state of its pictures (empty for all), and the setting they are grouped by.
 * @typedef {{name: string, owner: string, state: string, by: string}} AskedSet */

/** Between two readings: the server compares the whole set for each. */
const PAUSE_MS = 2000;
/** Pictures on the page at most; a state chooses among more. */
const PAGE = 200;

/** Null until they were read. @type {import("@preact/signals").Signal<readonly PictureSet[] | null>} */
export const sets = signal(null);
/** @type {import("@preact/signals").Signal<WholeSet | null>} */
export const whole = signal(null);
/** Why they cannot be read; empty when they can. */
export const problem = signal("");

/** Null where no page shows sets, "all" for the list. @type {AskedSet | "all" | null} */
let shown = null;

const refresh = keepFresh(async () => {
  const asked = shown;
  if (asked === null) return;
  try {
    const answer = asked === "all" ? (await get("sets")).items : await readSet(asked);
    if (asked !== shown) return;
    if (asked === "all") sets.value = answer;
    else whole.value = answer;
    problem.value = "";
    if ((asked === "all" ? answer : [answer.set]).some(isOpen)) setTimeout(refresh, PAUSE_MS); // a verdict is no event
  } catch (error) {
    if (asked === shown) problem.value = error instanceof Error ? error.message : String(error);
  }
}, PAUSE_MS);

/** Whether pictures of a set are being made or checked. @param {PictureSet} set */
export function isOpen(set) {
  return (set.states.open ?? 0) > 0;
}

/** @param {AskedSet} asked @returns {Promise<WholeSet>} */
async function readSet({ name, owner, state, by }) {
  const whose = new URLSearchParams({ owner });
  const listed = new URLSearchParams({ owner, limit: String(PAGE), ...(state ? { state } : {}) });
  const [set, page, measured] = await Promise.all([
    get(`sets/${name}?${whose}`),
    get(`sets/${name}/pictures?${listed}`),
    get(`sets/${name}/measures?${new URLSearchParams({ owner, by })}`),
  ]);
  const stale = set.stale > 0 ? (await get(`sets/${name}/stale?${whose}`)).items : [];
  return { set, pictures: page.items, hasMore: page.next !== null, stale, groups: measured.items };
}

/** @param {AskedSet | "all"} asked */
export function showSets(asked) {
  const isOther = asked === "all" || whole.value?.set.name !== asked.name || whole.value.set.owner !== asked.owner;
  if (isOther) whole.value = null;
  problem.value = "";
  shown = asked;
  void refresh();
}

export function hideSets() {
  shown = null;
}

/** Reject a picture, which is made again. @param {PictureSet} set @param {string} key */
export async function rejectPicture({ name, owner }, key) {
  await post(`sets/${name}/reject?${new URLSearchParams({ owner })}`, { keys: [key] });
  void refresh();
}

/** Cancel what is under way. @param {PictureSet} set */
export async function cancelSet({ name, owner }) {
  await post(`sets/${name}/cancel?${new URLSearchParams({ owner })}`);
  void refresh();
}

listen("begun", () => void refresh());
listen("line", () => {
  if (shown !== null) void refresh();
});
