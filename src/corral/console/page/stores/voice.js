// Talking with a model: what is recorded becomes a question of the conversation, and its answer is spoken.

import { effect, signal } from "@preact/signals";
import { Recorder } from "../recorder.js";
import { SentenceCutter } from "../sentences.js";
import { Speaker } from "../speaker.js";
import { SPEAKER, hear, listSpeechModels, listVoices } from "../speech.js";
import { send, stopAnswers, turns } from "./chat.js";

/** @typedef {import("../speech.js").Voice} Voice */
/** @typedef {"idle" | "opening" | "recording" | "hearing" | "answering" | "speaking"} Step */

/** @type {import("@preact/signals").Signal<Step>} */
export const step = signal("idle");
/** Seconds of the recording that is being made. */
export const recorded = signal(0);
/** What is heard now. */
export const spoken = signal("");
/** What went wrong; empty when nothing did. */
export const problem = signal("");
/** Whether something here hears, as far as is known; null until it was read. @type {import("@preact/signals").Signal<boolean | null>} */
export const canHear = signal(null);
/** Null until they were read. @type {import("@preact/signals").Signal<readonly Voice[] | null>} */
export const voices = signal(null);
/** Who speaks the answers; null is silence. @type {import("@preact/signals").Signal<Voice | null>} */
export const voice = signal(null);

let stopping = new AbortController();
/** @type {Recorder | null} */
let recorder = null;
/** @type {AudioContext | null} */
let context = null;

/** Read what hears, and with which voices answers can be spoken. */
export async function readVoices() {
  try {
    const models = await listSpeechModels();
    const speakers = models.filter(({ speaks }) => speaks !== false).map(({ id }) => id);
    const named = await Promise.all(
      speakers.map(async (model) => [null, ...(await listVoices(model))].map((name) => ({ model, voice: name }))),
    );
    canHear.value = models.some(({ hears }) => hears !== false);
    const speaksSurely = models.some(({ speaks }) => speaks === true);
    if (voices.value === null && speaksSurely) voice.value = { model: SPEAKER, voice: null };
    voices.value = named.flat();
  } catch (error) {
    problem.value = describe(error);
  }
}

/** Begin to record; whatever was being answered or spoken ends. */
export async function startTalking() {
  stopTalking();
  const begun = new AbortController();
  stopping = begun;
  problem.value = "";
  step.value = "opening";
  context ??= new AudioContext(); // by the press: nothing could be heard later otherwise
  void context.resume();
  try {
    const opened = await Recorder.begin();
    if (begun.signal.aborted) {
      await opened.end();
      return;
    }
    recorder = opened;
    count(begun.signal);
    step.value = "recording";
  } catch (error) {
    fail(error, begun.signal);
  }
}

/** @param {AbortSignal} over */
function count(over) {
  recorded.value = 0;
  const clock = setInterval(() => {
    if (step.value === "recording" && !over.aborted) recorded.value += 1;
    else clearInterval(clock);
  }, 1000);
}

/** End the recording, ask what was said, and speak the answer; returns when all of it was heard. */
export async function ask() {
  const recording = recorder;
  const { signal: over } = stopping;
  if (recording === null) return;
  recorder = null;
  step.value = "hearing";
  try {
    const words = await hear(await recording.end(), over);
    over.throwIfAborted();
    if (!words) throw new Error("No words were heard in the recording.");
    step.value = "answering";
    await answer(words, over);
    if (!over.aborted) step.value = "idle";
  } catch (error) {
    fail(error, over);
  }
}

/**
 * Put a question to the models that are chosen, and speak what the first of them writes, while it writes.
 * @param {string} words
 * @param {AbortSignal} over
 */
async function answer(words, over) {
  const whole = send(words, []);
  const id = turns.value.at(-1)?.id;
  if (voice.value === null || context === null) return whole;
  const cutter = new SentenceCutter();
  const speaker = new Speaker(context, voice.value, over, (text) => {
    step.value = "speaking";
    spoken.value = text;
  });
  const unwatch = effect(() => {
    const shown = turns.value.find((turn) => turn.id === id)?.answers[0];
    if (shown !== undefined) for (const piece of cutter.take(shown.text, shown.isWhole)) speaker.say(piece);
  });
  try {
    await whole;
    await speaker.end();
  } finally {
    unwatch();
    spoken.value = "";
  }
}

/** End whatever goes on: the recording is thrown away, the answer broken off, and nothing more is spoken. */
export function stopTalking() {
  const isAsked = step.value === "answering" || step.value === "speaking";
  stopping.abort();
  void recorder?.end();
  recorder = null;
  if (isAsked) stopAnswers();
  step.value = "idle";
}

/**
 * @param {unknown} error
 * @param {AbortSignal} over
 */
function fail(error, over) {
  if (over.aborted) return;
  problem.value = describe(error);
  step.value = "idle";
}

/** @param {unknown} error */
function describe(error) {
  return error instanceof Error ? error.message : String(error);
}
