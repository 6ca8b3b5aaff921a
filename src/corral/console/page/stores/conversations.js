// Conversations that the server keeps for the user.

import { signal } from "@preact/signals";
import { call, get, post } from "../api.js";
import { trackNewest } from "../newest.js";

/** @typedef {import("../types.js").Conversation} Conversation */
/** @typedef {import("../types.js").WholeConversation} WholeConversation */

const PAGE = 30;

/** The last changed first; null until they were read. @type {import("@preact/signals").Signal<readonly Conversation[] | null>} */
export const conversations = signal(null);
/** The cursor of the next page. @type {import("@preact/signals").Signal<string | null>} */
export const next = signal(null);
/** Why they cannot be read; empty when they can. */
export const problem = signal("");
/** The words that are looked for, as they are typed; empty for all conversations. */
export const search = signal("");
const begin = trackNewest();

/** Read the first page anew. */
export async function refreshConversations() {
  const isNewest = begin();
  try {
    const page = await readPage(search.value, null);
    if (!isNewest()) return;
    conversations.value = page.items;
    next.value = page.next;
    problem.value = "";
  } catch (error) {
    if (isNewest()) problem.value = error instanceof Error ? error.message : String(error);
  }
}

/** @param {string} words */
export function searchConversations(words) {
  search.value = words;
  return refreshConversations();
}

/** Read the next page; it is dropped when the list is another by then. */
export async function showMoreConversations() {
  const [words, cursor] = [search.value, next.value];
  if (cursor === null) return;
  const page = await readPage(words, cursor);
  if (words !== search.value || cursor !== next.value) return;
  conversations.value = [...(conversations.value ?? []), ...page.items];
  next.value = page.next;
}

/**
 * @param {string} words
 * @param {string | null} cursor
 */
function readPage(words, cursor) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (words.trim()) query.set("search", words.trim());
  if (cursor !== null) query.set("cursor", cursor);
  return get(`conversations?${query}`);
}

/** @param {number} id @returns {Promise<WholeConversation>} */
export function readConversation(id) {
  return get(`conversations/${id}`);
}

/** @param {number} id */
export async function deleteConversation(id) {
  await call("DELETE", `conversations/${id}`);
  await refreshConversations();
}

/**
 * Keep a turn, and return the id of its conversation; null begins one.
 * @param {number | null} id
 * @param {{title: string, system: string, models: readonly string[]}} begun
 * @param {unknown} turn
 * @returns {Promise<number>}
 */
export async function keepTurn(id, begun, turn) {
  const kept = id ?? (await post("conversations", begun)).id;
  await post(`conversations/${kept}/turns`, turn);
  await refreshConversations();
  return kept;
}
