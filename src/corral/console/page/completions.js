// The server's own OpenAI door, as any client uses it: which models chat, and answers piece by piece.

import { ApiError, readEvents, send } from "./api.js";
import { EventParser } from "./events.js";

/** @typedef {{id: string, capabilities: readonly string[] | null}} ChatModel */
/** @typedef {{role: string, content: string | readonly unknown[]}} Message */
/**
 * What becomes known of an answer while it is written.
 * @typedef {{onText: (text: string) => void, onThought: (text: string) => void, onWait: (words: string) => void,
 *   onPlace: (place: string) => void, onTokens: (tokens: number) => void}} Listener
 */

const DOOR = new URL("v1/", document.baseURI);
const RUNS_ON = /^runs on (.+)$/;

/**
 * List the models that chat; of those whose abilities are unknown, all that could.
 * @returns {Promise<readonly ChatModel[]>}
 */
export async function listChatModels() {
  const response = await ask("models");
  /** @type {readonly ChatModel[]} */
  const models = (await response.json()).data;
  return models.filter(({ capabilities }) => capabilities === null || capabilities.includes("completion"));
}

/** Whether a model looks at pictures, as far as is known. @param {ChatModel | undefined} model */
export function seesPictures(model) {
  return model !== undefined && (model.capabilities === null || model.capabilities.includes("vision"));
}

/**
 * Have a model answer; what it writes is reported piece by piece.
 * @param {string} model
 * @param {readonly Message[]} messages
 * @param {AbortSignal} stopping
 * @param {Listener} listener
 */
export async function streamAnswer(model, messages, stopping, listener) {
  const body = { model, messages, stream: true, stream_options: { include_usage: true } };
  const response = await ask("chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Corral-Wait": "comments" },
    body: JSON.stringify(body),
    signal: stopping,
  });
  const place = response.headers.get("x-corral-slot") ?? response.headers.get("x-corral-cloud");
  if (place !== null) listener.onPlace(place);
  const parser = new EventParser((words) => {
    const runsOn = RUNS_ON.exec(words)?.[1];
    if (runsOn === undefined) listener.onWait(words);
    else listener.onPlace(runsOn);
  });
  for await (const event of readEvents(response, stopping, parser)) {
    if (event.data !== "[DONE]") take(JSON.parse(event.data), listener);
  }
}

/**
 * @param {any} chunk as OpenAI's protocol has it
 * @param {Listener} listener
 */
function take(chunk, listener) {
  if (chunk.error) throw new ApiError(0, chunk.error.message);
  const delta = chunk.choices?.[0]?.delta ?? {};
  const thought = delta.reasoning_content ?? delta.reasoning;
  if (thought) listener.onThought(thought);
  if (delta.content) listener.onText(delta.content);
  const tokens = chunk.usage?.completion_tokens;
  if (typeof tokens === "number") listener.onTokens(tokens);
}

/**
 * Send a request to the doors of OpenAI's API; raises as `send` does.
 * @param {string} path below `/v1/`
 * @param {import("./api.js").Asked} [request]
 */
export function ask(path, request = {}) {
  return send(new URL(path, DOOR), request, readRefusal);
}

/** Read why the door refused a request: OpenAI's protocol has errors of its own. @param {Response} response */
async function readRefusal(response) {
  const error = await response.json().then((answer) => answer.error, () => null);
  return new ApiError(response.status, error?.message ?? `the server answered ${response.status}`);
}
