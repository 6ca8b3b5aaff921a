// Calls of Corral's own API, relative to the page, so that it works below any path of a reverse proxy.

/** @typedef {import("./types.js").Refusal} Refusal */
/** @typedef {import("./types.js").Upload} Upload */

export const ROOT = new URL("corral/v1/", document.baseURI);
/** Every request says that it is the console's: no page of another origin can add a header. */
export const HEADERS = { "X-Corral-Console": "1" };

/** The server refused a request, or could not be reached (`status` 0). */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} what
   * @param {Refusal | null} refusal
   */
  constructor(status, what, refusal = null) {
    super(what);
    this.status = status;
    this.refusal = refusal;
  }

  /** What to do about it; empty where the server does not say. */
  get hint() {
    return this.refusal?.hint ?? "";
  }
}

/** @type {Set<() => void>} */
const deniedListeners = new Set();

/** Call `listener` whenever the server knows the caller no more. @param {() => void} listener */
export function onDenied(listener) {
  deniedListeners.add(listener);
}

export function noteDenied() {
  for (const listener of deniedListeners) listener();
}

/**
 * Send a request and return the JSON of its answer; null for an answer without a body.
 * @param {string} method
 * @param {string} path below `/corral/v1/`
 * @param {unknown} [body]
 * @param {Record<string, string>} [more] headers
 * @returns {Promise<any>} whatever the route answers; callers name its shape
 */
export async function call(method, path, body, more = {}) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(new URL(path, ROOT), {
      method,
      headers: { ...HEADERS, ...more, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? null : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch {
    throw new ApiError(0, "the server cannot be reached");
  }
  if (response.status === 204) return null;
  if (response.ok) return response.json();
  const error = await readError(response);
  if (response.status === 401 && path !== "session") noteDenied();
  throw error;
}

/** @param {string} path */
export function get(path) {
  return call("GET", path);
}

/**
 * @param {string} path
 * @param {unknown} [body]
 * @param {Record<string, string>} [headers]
 */
export function post(path, body = {}, headers = {}) {
  return call("POST", path, body, headers);
}

/** Upload a file of this machine; the answer has its SHA-256. @param {File} file @returns {Promise<Upload>} */
export async function upload(file) {
  const path = `uploads?name=${encodeURIComponent(file.name)}`;
  /** @type {Response} */
  let response;
  try {
    response = await fetch(new URL(path, ROOT), { method: "POST", headers: HEADERS, body: file, credentials: "same-origin" });
  } catch {
    throw new ApiError(0, "the server cannot be reached");
  }
  if (!response.ok) throw await readError(response);
  return response.json();
}

/**
 * Read why a request was refused; a proxy in between answers in other words.
 * @param {Response} response
 */
export async function readError(response) {
  try {
    /** @type {Refusal} */
    const refusal = (await response.json()).error;
    const whats = refusal.problems.length > 1 ? refusal.problems.map((problem) => problem.what) : [refusal.what];
    return new ApiError(response.status, whats.join("; "), refusal);
  } catch {
    return new ApiError(response.status, `the server answered ${response.status}`);
  }
}
