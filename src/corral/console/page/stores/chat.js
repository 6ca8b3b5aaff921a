// The conversation on the page: whom it is with, what was said, and the answers that are being written.

import { computed, signal } from "@preact/signals";
import { onDenied } from "../api.js";
import { listChatModels, seesPictures, streamAnswer } from "../completions.js";
import { keepTurn, readConversation } from "./conversations.js";
import { session } from "./session.js";

/** @typedef {import("../completions.js").ChatModel} ChatModel */
/** @typedef {import("../completions.js").Message} Message */
/**
 * The answer of one model, so far; `wait` says what it waits for.
 * @typedef {{model: string, text: string, thought: string, wait: string, place: string | null, tokens: number | null,
 *   seconds: number | null, problem: string, isWhole: boolean}} Answer
 */
/** @typedef {{id: number, asked: string, images: readonly string[], answers: readonly Answer[], isKept: boolean}} Turn */
/** A conversation with the turns that wait to be kept, one after the other; `id` is the server's. @typedef {{id: number | null, keeping: Promise<void>}} Shown */

const NEW = { text: "", thought: "", wait: "", place: null, tokens: null, seconds: null, problem: "", isWhole: false };
/** Between two drawings of an answer that grows. */
const DRAW_EVERY_MS = 60;
const LONGEST_TITLE = 80;

/** Null until they were read. @type {import("@preact/signals").Signal<readonly ChatModel[] | null>} */
export const models = signal(null);
/** The names of those who are asked, side by side. @type {import("@preact/signals").Signal<readonly string[]>} */
export const chosen = signal([]);
export const system = signal("");
/** @type {import("@preact/signals").Signal<readonly Turn[]>} */
export const turns = signal([]);
/** Where the server keeps it; null while it does not. @type {import("@preact/signals").Signal<number | null>} */
export const kept = signal(null);
/** What went wrong; empty when nothing did. */
export const problem = signal("");
/** Why the models cannot be read; empty when they can. */
export const modelsProblem = signal("");
export const isAnswering = computed(() => turns.value.at(-1)?.answers.some((answer) => !answer.isWhole) ?? false);
/** Those who are asked and look at no pictures. */
export const blind = computed(() => chosen.value.filter((name) => !seesPictures(findModel(name))));

/** The one on the page: what comes late for another is not shown. @type {Shown} */
let shown = { id: null, keeping: Promise.resolve() };
/** @type {AbortController | null} */
let running = null;
/** Numbers the turns of this page. */
let newest = 0;

/** @param {string} name */
function findModel(name) {
  return models.value?.find((model) => model.id === name);
}

export async function readModels() {
  try {
    models.value = await listChatModels();
    const first = models.value[0];
    if (!chosen.value.length && first !== undefined) chosen.value = [first.id];
    modelsProblem.value = "";
  } catch (error) {
    modelsProblem.value = describe(error);
  }
}

/** Begin anew, with the same models and system prompt. */
export function startConversation() {
  stopAnswers();
  shown = { id: null, keeping: Promise.resolve() };
  turns.value = [];
  kept.value = null;
  problem.value = "";
}

/** Show a conversation that is kept. @param {number} id */
export async function openConversation(id) {
  if (kept.value === id) return;
  startConversation();
  const opened = shown;
  try {
    const whole = await readConversation(id);
    if (opened !== shown) return;
    opened.id = id;
    kept.value = id;
    chosen.value = whole.models;
    system.value = whole.system;
    const past = whole.turns.map((turn) => ({
      id: ++newest,
      asked: turn.asked,
      images: turn.images,
      answers: turn.answers.map((said) => ({ ...NEW, ...said, problem: said.problem ?? "", isWhole: true })),
      isKept: true,
    }));
    turns.value = [...past, ...turns.value];
  } catch (error) {
    if (opened === shown) problem.value = describe(error);
  }
}

export function stopAnswers() {
  running?.abort();
}
onDenied(stopAnswers); // none is written on, to be kept for the next user

/**
 * Ask all that are chosen, at once; returns when every answer is whole, and the turn kept. Where another conversation
 * is opened meanwhile, the turn is kept as far as it was written.
 * @param {string} asked
 * @param {readonly string[]} images as `data:` URLs
 */
export async function send(asked, images) {
  const stopping = new AbortController();
  running = stopping;
  const before = turns.value;
  const answers = chosen.value.map((model) => ({ ...NEW, model }));
  const begun = { id: ++newest, asked, images, answers, isKept: false };
  turns.value = [...before, begun];
  const [conversation, models] = [shown, chosen.value];
  const head = { title: asked.trim().slice(0, LONGEST_TITLE) || "Picture", system: system.value, models };
  const written = await Promise.all(answers.map((answer, place) => write(before, begun, place, answer, stopping.signal)));
  if (!session.value?.keeps_conversations) return;
  conversation.keeping = conversation.keeping.then(() => keep(conversation, head, { ...begun, answers: written }));
  await conversation.keeping;
}

/**
 * @param {Shown} conversation
 * @param {{title: string, system: string, models: readonly string[]}} head of one that is not kept yet
 * @param {Turn} turn
 */
async function keep(conversation, head, turn) {
  const answers = turn.answers.map(({ model, text, place, tokens, seconds, problem: why }) => {
    return { model, text, place, tokens, seconds, problem: why || null };
  });
  try {
    conversation.id = await keepTurn(conversation.id, head, { asked: turn.asked, images: turn.images, answers });
    if (conversation !== shown) return;
    kept.value = conversation.id;
    turns.value = turns.value.map((known) => (known.id === turn.id ? { ...known, isKept: true } : known));
  } catch (error) {
    problem.value = `"${head.title}" is not kept: ${describe(error)}`;
  }
}

/**
 * Let one model write its answer, which is the `place`-th of a turn; returns it whole, or as far as it came.
 * @param {readonly Turn[]} before
 * @param {Turn} turn
 * @param {number} place
 * @param {Answer} answer
 * @param {AbortSignal} stopping
 * @returns {Promise<Answer>}
 */
async function write(before, turn, place, answer, stopping) {
  let begunAt = 0;
  let drawing = 0;
  const draw = () => {
    drawing = 0;
    change(turn.id, place, answer);
  };
  /** @param {Partial<Answer>} news */
  const note = (news) => {
    answer = { ...answer, ...news };
    if (!drawing) drawing = setTimeout(draw, DRAW_EVERY_MS);
  };
  try {
    await streamAnswer(answer.model, listMessages(before, turn, place, answer.model), stopping, {
      onText: (text) => {
        begunAt ||= performance.now();
        note({ text: answer.text + text, wait: "" });
      },
      onThought: (thought) => {
        begunAt ||= performance.now(); // thoughts are among the tokens that are counted
        note({ thought: answer.thought + thought, wait: "" });
      },
      onWait: (wait) => note({ wait }),
      onPlace: (on) => note({ place: on }),
      onTokens: (tokens) => note({ tokens }),
    });
  } catch (error) {
    note({ problem: stopping.aborted ? "stopped" : describe(error) });
  }
  clearTimeout(drawing);
  const seconds = begunAt ? (performance.now() - begunAt) / 1000 : null;
  answer = { ...answer, wait: "", seconds, isWhole: true };
  draw();
  return answer;
}

/**
 * Draw an answer anew; nothing happens where its turn is not shown any more.
 * @param {number} id
 * @param {number} place
 * @param {Answer} answer
 */
function change(id, place, answer) {
  turns.value = turns.value.map((turn) =>
    turn.id === id ? { ...turn, answers: turn.answers.map((known, at) => (at === place ? answer : known)) } : turn,
  );
}

/**
 * The conversation as one model knows it: the questions, and the answers in its column.
 * @param {readonly Turn[]} before
 * @param {Turn} turn
 * @param {number} place
 * @param {string} model
 * @returns {Message[]}
 */
function listMessages(before, turn, place, model) {
  const sees = seesPictures(findModel(model));
  const said = before.flatMap((past) => {
    const answer = past.answers.find((known) => known.model === model) ?? past.answers[place] ?? past.answers[0];
    return [writeQuestion(past, sees), ...(answer?.text ? [{ role: "assistant", content: answer.text }] : [])];
  });
  const first = system.value.trim() ? [{ role: "system", content: system.value.trim() }] : [];
  return [...first, ...said, writeQuestion(turn, sees)];
}

/**
 * @param {Turn} turn
 * @param {boolean} sees whether the model looks at pictures
 * @returns {Message}
 */
function writeQuestion({ asked, images }, sees) {
  if (!images.length || !sees) return { role: "user", content: asked };
  const pictures = images.map((url) => ({ type: "image_url", image_url: { url } }));
  return { role: "user", content: [{ type: "text", text: asked }, ...pictures] };
}

/** @param {unknown} error */
function describe(error) {
  return error instanceof Error ? error.message : String(error);
}
