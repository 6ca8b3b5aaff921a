// The voice of a conversation: a button that is held to talk, the voice that answers, and what goes on.

import { useEffect, useRef } from "preact/hooks";
import { html } from "../html.js";
import { explainNoMicrophone } from "../recorder.js";
import { SPEAKER } from "../speech.js";
import { chosen } from "../stores/chat.js";
import { ask, canHear, problem, readVoices, recorded, spoken, startTalking, step, stopTalking, voice, voices } from "../stores/voice.js";

/** @typedef {import("../speech.js").Voice} Voice */

/** A press that is shorter leaves the microphone open until the next one: no hand has to hold a button. */
const TAP_MS = 400;
const KEYS = [" ", "Enter"];
const SILENT = "";
const BEST = JSON.stringify({ model: SPEAKER, voice: null });

export function VoiceBar() {
  useEffect(() => {
    void readVoices();
    return stopTalking;
  }, []);
  const refusal = explainNoMicrophone();
  if (refusal) return html`<p class="note" data-voice>No voice here: ${refusal}</p>`;
  if (canHear.value === false) {
    return html`<p class="note" data-voice>
      No voice here: no model hears. <code>corral models pull whisper-base</code> gets one.
    </p>`;
  }
  return html`<section class="voice" aria-label="Voice">
    <p class="row">
      <${TalkButton} />
      ${step.value !== "idle" && html`<button type="button" class="small" onClick=${stopTalking}>Stop talking</button>`}
      <${VoiceChoice} />
    </p>
    <p class="note" role="status" data-step=${step.value}>${describeStep()}</p>
    ${problem.value && html`<p class="warning" role="alert">${problem.value}</p>`}
  </section>`;
}

function TalkButton() {
  const pressedAt = useRef(0);
  const isRecording = () => step.value === "recording";

  function press() {
    if (isRecording()) {
      pressedAt.current = -Infinity;
      return;
    }
    pressedAt.current = performance.now();
    void startTalking();
  }

  function release() {
    if (isRecording() && performance.now() - pressedAt.current > TAP_MS) void ask();
  }

  /** @param {KeyboardEvent} event */
  function key(event) {
    if (!KEYS.includes(event.key)) return;
    event.preventDefault(); // no click of its own
    if (event.repeat) return;
    if (event.type === "keydown") press();
    else release();
  }

  /** @param {PointerEvent} event */
  function point(event) {
    if (event.button !== 0) return;
    /** @type {HTMLElement} */ (event.currentTarget).setPointerCapture(event.pointerId);
    press();
  }

  /** Programs that read the screen click without a pointer. @param {MouseEvent} event */
  function click(event) {
    if (event.detail !== 0) return;
    if (isRecording()) void ask();
    else void startTalking();
  }

  return html`<button
    type="button"
    class="talk"
    aria-pressed=${isRecording()}
    disabled=${chosen.value.length === 0}
    onPointerDown=${point}
    onPointerUp=${release}
    onPointerCancel=${release}
    onKeyDown=${key}
    onKeyUp=${key}
    onClick=${click}
    onContextMenu=${(/** @type {Event} */ event) => event.preventDefault()}
  >
    Hold to talk
  </button>`;
}

function VoiceChoice() {
  const known = voices.value;
  if (known === null) return null;
  if (!known.length) return html`<span class="note">No model here speaks: answers stay text.</span>`;
  const value = voice.value === null ? SILENT : JSON.stringify(voice.value);
  return html`<label>
    Voice${" "}
    <select
      aria-label="Voice"
      value=${value}
      onChange=${(/** @type {Event} */ event) => {
        const chosenValue = /** @type {HTMLSelectElement} */ (event.currentTarget).value;
        voice.value = chosenValue === SILENT ? null : JSON.parse(chosenValue);
      }}
    >
      <option value=${SILENT}>Silent</option>
      <option value=${BEST}>The server's choice</option>
      ${known.map((offered) => html`<option key=${JSON.stringify(offered)} value=${JSON.stringify(offered)}>${nameVoice(offered)}</option>`)}
    </select>
  </label>`;
}

/** @param {Voice} offered */
function nameVoice({ model, voice: name }) {
  return name === null ? model : `${model}: ${name}`;
}

function describeStep() {
  switch (step.value) {
    case "idle":
      return "Hold the button, or Space on it; a short press leaves the microphone open until the next.";
    case "opening":
      return "The browser asks for the microphone";
    case "recording":
      return `Recording: ${recorded.value} s`;
    case "hearing":
      return "The recording becomes text";
    case "answering":
      return "The answer is being written";
    case "speaking":
      return `Speaking: ${spoken.value}`;
  }
}
