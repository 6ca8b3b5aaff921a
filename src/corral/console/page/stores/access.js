// Tokens and open invitations, for administrators.

import { signal } from "@preact/signals";
import { call, get, post } from "../api.js";

/** @typedef {import("../types.js").Token} Token */
/** @typedef {import("../types.js").Invitation} Invitation */

/** Null until they were read. @type {import("@preact/signals").Signal<readonly Token[] | null>} */
export const tokens = signal(null);
/** @type {import("@preact/signals").Signal<readonly Invitation[]>} */
export const invitations = signal([]);
/** Why they cannot be read; empty when they can. */
export const problem = signal("");

export async function refreshAccess() {
  try {
    const [made, open] = await Promise.all([get("tokens"), get("invitations")]);
    tokens.value = made.items;
    invitations.value = open.items;
    problem.value = "";
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  }
}

/** Make a token and return its secret. @param {Record<string, unknown>} asked @returns {Promise<string>} */
export async function makeToken(asked) {
  const { token } = await post("tokens", asked);
  await refreshAccess();
  return token;
}

/** Invite a person and return the link. @param {Record<string, unknown>} asked @returns {Promise<string>} */
export async function invitePerson(asked) {
  const { link } = await post("invitations", asked);
  await refreshAccess();
  return link;
}

/** @param {string} name */
export async function revokeToken(name) {
  await call("DELETE", `tokens/${encodeURIComponent(name)}`);
  await refreshAccess();
}

/** @param {string} name */
export async function withdrawInvitation(name) {
  await call("DELETE", `invitations/${encodeURIComponent(name)}`);
  await refreshAccess();
}
