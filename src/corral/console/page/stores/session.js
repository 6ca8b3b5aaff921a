// Who uses the page, and what they are allowed.

import { computed, signal } from "@preact/signals";
import { ApiError, call, get, onDenied, post } from "../api.js";

/** @typedef {import("../types.js").Session} Session */

/** Null until the server has answered. @type {import("@preact/signals").Signal<Session | null>} */
export const session = signal(null);
/** Why the page asks to log in; empty at a first visit. */
export const reason = signal("");

export const isKnown = computed(() => session.value?.owner != null);
export const canSubmit = computed(() => ["submitter", "admin"].includes(session.value?.role ?? ""));
export const isAdmin = computed(() => session.value?.role === "admin");

onDenied(() => {
  if (isKnown.value) reason.value = "Your session is over: the token has expired or was revoked.";
  session.value = { owner: null, role: null, cluster: null, has_cookie: false, keeps_conversations: false };
});

/** Whether the user can change what an owner submitted. @param {string} owner */
export function canChange(owner) {
  return isAdmin.value || (canSubmit.value && session.value?.owner === owner);
}

/** Ask the server who this is; a link with a code logs in first. */
export async function openSession() {
  const code = /^#code=([A-Za-z0-9_-]+)$/.exec(location.hash)?.[1];
  if (code !== undefined) {
    history.replaceState(null, "", "#/");
    if (await logIn({ code })) return;
  }
  await askSession();
}

async function askSession() {
  try {
    session.value = await get("session");
  } catch (error) {
    reason.value = error instanceof ApiError ? error.message : String(error);
    setTimeout(askSession, 2000);
  }
}

/**
 * Log in and return whether that worked; `reason` says why not.
 * @param {{token: string} | {code: string}} secret
 */
export async function logIn(secret) {
  try {
    session.value = await post("session", secret);
    reason.value = "";
    return true;
  } catch (error) {
    reason.value = error instanceof ApiError ? `${error.message}${error.hint ? ` (${error.hint})` : ""}` : String(error);
    return false;
  }
}

export async function logOut() {
  await call("DELETE", "session");
  reason.value = "";
  session.value = await get("session");
}
