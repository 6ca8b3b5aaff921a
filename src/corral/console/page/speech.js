// The server's own door of speech, as any client uses it: what speaks and hears, recordings as text, text as sound.

import { ask } from "./completions.js";

/** What speaks a text; no voice is the model's first one. @typedef {{model: string, voice: string | null}} Voice */
/** An ability is null where a server elsewhere does not say. @typedef {{id: string, speaks: boolean | null, hears: boolean | null}} SpeechModel */

/** The names under which the server chooses a model: the best that hears or speaks. */
const HEARER = "whisper-1";
export const SPEAKER = "tts-1";

/** @returns {Promise<readonly SpeechModel[]>} */
export async function listSpeechModels() {
  return (await (await ask("audio/models")).json()).models;
}

/** The names of a model's voices, and of the user's own. @param {string} model @returns {Promise<readonly string[]>} */
export async function listVoices(model) {
  const response = await ask(`audio/voices?${new URLSearchParams({ model })}`);
  return (await response.json()).voices.map((/** @type {{name: string}} */ voice) => voice.name);
}

/**
 * Return the words of a recording.
 * @param {Blob} recording
 * @param {AbortSignal} stopping
 * @returns {Promise<string>}
 */
export async function hear(recording, stopping) {
  const form = new FormData();
  form.set("model", HEARER);
  form.set("file", recording, `recording.${/^audio\/(\w+)/.exec(recording.type)?.[1] ?? "webm"}`);
  const response = await ask("audio/transcriptions", { method: "POST", body: form, signal: stopping });
  return (await response.json()).text.trim();
}

/**
 * Return a text as sound, a file of its own.
 * @param {string} text
 * @param {Voice} speaker
 * @param {AbortSignal} stopping
 */
export async function speak(text, { model, voice }, stopping) {
  const body = { model, input: text, response_format: "wav", ...(voice === null ? {} : { voice }) };
  const response = await ask("audio/speech", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: stopping,
  });
  return response.arrayBuffer();
}
