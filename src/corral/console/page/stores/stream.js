// The one stream of events: it goes on after the last line that was seen, whatever happened in between.

import { batch, signal } from "@preact/signals";
import { HEADERS, ROOT, noteDenied } from "../api.js";
import { EventParser } from "../events.js";

/** @typedef {import("../events.js").ServerEvent} ServerEvent */

/** `lost` while the page tries to come back. @type {import("@preact/signals").Signal<"opening" | "live" | "lost">} */
export const connection = signal("opening");

/** Longer than two heartbeats of the server: a connection that is silent for this long is dead. */
const SILENCE_MS = 40_000;
const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 5000;

/** @type {Map<string, Set<(data: any, kind: string) => void>>} */
const listeners = new Map();
/** @type {string | null} */
let lastId = null;
/** @type {AbortController | null} */
let running = null;

/**
 * Take every event of a kind; `line` takes all lines of the story.
 * @param {string} kind
 * @param {(data: any, kind: string) => void} listener JSON, as the server's description has it
 */
export function listen(kind, listener) {
  const known = listeners.get(kind) ?? new Set();
  listeners.set(kind, known.add(listener));
}

/** Follow events until `closeStream`, and come back after every loss. */
export async function openStream() {
  if (running !== null) return;
  const stopping = new AbortController();
  running = stopping;
  let pause = FIRST_PAUSE_MS;
  while (!stopping.signal.aborted) {
    try {
      const status = await follow(stopping.signal, () => {
        pause = FIRST_PAUSE_MS;
      });
      if (status === 401) {
        closeStream();
        noteDenied();
        return;
      }
    } catch {
      // the connection broke, or the page ends it: below
    }
    if (stopping.signal.aborted) return;
    connection.value = "lost";
    await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random() / 2)));
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }
}

/** End the stream; another user begins a new one. */
export function closeStream() {
  running?.abort();
  running = null;
  lastId = null;
  connection.value = "opening";
}

/**
 * Read one connection to its end and return its status.
 * @param {AbortSignal} stopping
 * @param {() => void} noteOpen
 */
async function follow(stopping, noteOpen) {
  const address = new URL("events?slots=true", ROOT);
  const silence = new AbortController();
  let watch = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const response = await fetch(address, {
      headers: lastId === null ? HEADERS : { ...HEADERS, "Last-Event-ID": lastId },
      signal: AbortSignal.any([stopping, silence.signal]),
      cache: "no-store",
      credentials: "same-origin",
    });
    if (!response.ok || response.body === null) return response.status;
    noteOpen();
    const parser = new EventParser();
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    while (true) {
      const { done, value } = await reader.read();
      if (done) return response.status;
      clearTimeout(watch);
      watch = setTimeout(() => silence.abort(), SILENCE_MS);
      const events = parser.add(decoder.decode(value, { stream: true }));
      batch(() => events.forEach(take));
    }
  } finally {
    clearTimeout(watch);
  }
}

/** @param {ServerEvent} event */
function take(event) {
  if (event.id !== null) lastId = event.id;
  if (event.kind === "begun") {
    const again = connection.value === "lost";
    connection.value = "live";
    hand("begun", again, event.kind);
    return;
  }
  const data = JSON.parse(event.data);
  if (event.id !== null) hand("line", data, event.kind);
  else hand(event.kind, data, event.kind);
}

/**
 * @param {string} kind
 * @param {any} data as `listen`
 * @param {string} name
 */
function hand(kind, data, name) {
  for (const listener of listeners.get(kind) ?? []) listener(data, name);
}
