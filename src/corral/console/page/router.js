// Pages by the part of the address behind `#`, which no server sees: it works below any path.

import { computed, signal } from "@preact/signals";

const hash = signal(location.hash);
addEventListener("hashchange", () => {
  hash.value = location.hash;
});

/** The steps of the path, and its query. */
export const route = computed(() => {
  const [path = "", query = ""] = hash.value.replace(/^#\/?/, "").split("?");
  return { steps: path.split("/").filter(Boolean), query: new URLSearchParams(query) };
});

/** @param {string} path without `#` */
export function go(path) {
  location.hash = path;
}

/**
 * Change the address within its page without a new entry in the history. Nothing happens where the page is being left:
 * the browser has the new address before `hashchange`, and what comes late leads nobody back.
 * @param {string} path without `#`
 */
export function replace(path) {
  if (pageOf(location.hash) !== pageOf(path)) return;
  history.replaceState(null, "", `#${path}`);
  hash.value = `#${path}`;
}

/** The first step of an address. @param {string} address */
function pageOf(address) {
  return /^#?\/?([^/?]*)/.exec(address)?.[1];
}
