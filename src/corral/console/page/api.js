// Calls of Corral's own API, relative to the page, so that it works below any path of a reverse proxy.

import { EventParser } from "./events.js";

/** @typedef {import("./types.js").Refusal} Refusal */
/** @typedef {import("./types.js").Upload} Upload */
/** A step of a pull, in the server's words. @typedef {{words: string, done: number | null, total: number | null}} Step */

/** @typedef {Omit<RequestInit, "headers"> & {headers?: Record<string, string>}} Asked */

export const ROOT = new URL("corral/v1/", document.baseURI);
/** Every request says that it is the console's: no page of another origin can add a header. */
export const HEADERS = { "X-Corral-Console": "1" };
/** Where a refusal is one of the secret that was given, and not of a login that has ended. */
const SESSION = new URL("session", ROOT).href;

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
 * Send a request as the console and return its answer, which is none of a refusal. Raises ApiError when the server
 * refuses it or cannot be reached; a request that the page itself ends raises as `fetch` does.
 * @param {URL} address
 * @param {Asked} [request]
 * @param {(response: Response) => Promise<ApiError>} [explain] reads a refusal
 */
export async function send(address, request = {}, explain = readError) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(address, { ...request, headers: { ...HEADERS, ...request.headers }, credentials: "same-origin" });
  } catch (error) {
    if (request.signal?.aborted) throw error;
    throw new ApiError(0, "the server cannot be reached");
  }
  if (response.ok) return response;
  const error = await explain(response);
  if (response.status === 401 && address.href !== SESSION) noteDenied();
  throw error;
}

/**
 * The events of an answer, as they arrive. Raises ApiError where the connection breaks, as `send` where the page ends it.
 * @param {Response} response
 * @param {AbortSignal} stopping
 * @param {EventParser} [parser]
 */
export async function* readEvents(response, stopping, parser = new EventParser()) {
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  while (reader !== undefined) {
    /** @type {ReadableStreamReadResult<Uint8Array>} */
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (stopping.aborted) throw error;
      throw new ApiError(0, "the connection broke off");
    }
    if (piece.done) return;
    yield* parser.add(decoder.decode(piece.value, { stream: true }));
  }
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
  const asked =
    body === undefined
      ? { headers: more }
      : { headers: { ...more, "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await send(new URL(path, ROOT), { method, ...asked });
  return response.status === 204 ? null : response.json();
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
  const address = new URL(`uploads?name=${encodeURIComponent(file.name)}`, ROOT);
  return (await send(address, { method: "POST", body: file })).json();
}

/**
 * POST something that takes minutes; `onStep` gets each step of it. Returns the JSON of its end.
 * @param {string} path
 * @param {unknown} body
 * @param {(step: Step) => void} onStep
 * @param {AbortSignal} stopping ends the work, too
 * @returns {Promise<any>} as `call`
 */
export async function follow(path, body, onStep, stopping) {
  const response = await send(new URL(path, ROOT), {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify(body),
    signal: stopping,
  });
  for await (const event of readEvents(response, stopping)) {
    const data = JSON.parse(event.data);
    if (event.kind === "done") return data;
    if (event.kind === "failed") throw makeError(0, data.error);
    onStep(data);
  }
  throw new ApiError(0, "the connection broke off");
}

/**
 * Read why a request was refused; a proxy in between answers in other words.
 * @param {Response} response
 */
async function readError(response) {
  try {
    return makeError(response.status, (await response.json()).error);
  } catch {
    return new ApiError(response.status, `the server answered ${response.status}`);
  }
}

/** @param {number} status @param {Refusal} refusal */
function makeError(status, refusal) {
  const whats = refusal.problems.length > 1 ? refusal.problems.map((problem) => problem.what) : [refusal.what];
  return new ApiError(status, whats.join("; "), refusal);
}
