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

/** Change the address without a new entry in the history. @param {string} path */
export function replace(path) {
  history.replaceState(null, "", `#${path}`);
  hash.value = `#${path}`;
}
