// Who uses the page, and what they are allowed.

import { computed, effect, signal } from "@preact/signals";
import { ApiError, call, get, onDenied, post } from "../api.js";

/** @typedef {import("../types.js").Session} Session */

/** Null until the server has answered. @type {import("@preact/signals").Signal<Session | null>} */
export const session = signal(null);
/** Why the page asks to log in; empty at a first visit. */
export const reason = signal("");

export const isKnown = computed(() => session.value?.owner != null);
export const canSubmit = computed(() => ["submitter", "admin"].includes(session.value?.role ?? ""));
export const isAdmin = computed(() => session.value?.role === "admin");

/** @type {Session} */
const UNKNOWN = { owner: null, role: null, cluster: null, has_cookie: false, keeps_conversations: false };
/** The user whose data the page holds; null until one is known. @type {string | null} */
let holder = null;
/** Tabs of one browser have one session: each hears of the owner that another has changed it to. */
const tabs = new BroadcastChannel("corral.session");

effect(() => {
  holder = session.value?.owner ?? holder;
});
onDenied(() => {
  if (isKnown.value) reason.value = "Your session is over: the token has expired or was revoked.";
  session.value = UNKNOWN;
});
tabs.addEventListener("message", ({ data: owner }) => {
  if (session.value !== null && owner !== session.value.owner) beginAnew();
});

/** Load the page anew, so that nothing of one user is left for the next. */
function beginAnew() {
  session.value = UNKNOWN; // what the tab keeps is cleared
  session.value = null; // until the page is loaded
  if (holder !== null) history.replaceState(null, "", "#/");
  location.reload();
}

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
    const opened = await post("session", secret);
    tabs.postMessage(opened.owner);
    if (holder !== null && opened.owner !== holder) beginAnew();
    else session.value = opened;
    reason.value = "";
    return true;
  } catch (error) {
    reason.value = error instanceof ApiError ? `${error.message}${error.hint ? ` (${error.hint})` : ""}` : String(error);
    return false;
  }
}

export async function logOut() {
  await call("DELETE", "session");
  tabs.postMessage(null);
  beginAnew();
}
