// Speaks pieces of text one after the other: each is asked for while the one before it is heard.

import { speak } from "./speech.js";

/** @typedef {import("./speech.js").Voice} Voice */

export class Speaker {
  #asked = /** @type {Promise<unknown>} */ (Promise.resolve());
  #said = Promise.resolve();
  #context;
  #voice;
  #stopping;
  #onPiece;

  /**
   * @param {AudioContext} context begun by a press: browsers let no page speak by itself
   * @param {Voice} voice
   * @param {AbortSignal} stopping ends it at once
   * @param {(text: string) => void} onPiece takes each piece as it begins to be heard
   */
  constructor(context, voice, stopping, onPiece) {
    this.#context = context;
    this.#voice = voice;
    this.#stopping = stopping;
    this.#onPiece = onPiece;
  }

  /** @param {string} text */
  say(text) {
    const sound = this.#asked.then(() => speak(text, this.#voice, this.#stopping));
    this.#asked = sound;
    this.#said = this.#said.then(async () => {
      const whole = await this.#context.decodeAudioData(await sound);
      this.#onPiece(text);
      await this.#play(whole);
    });
    this.#said.catch(() => {}); // `end` reports it
  }

  /** Wait until all was said. Throws what went wrong with the first piece that could not be spoken. */
  end() {
    return this.#said;
  }

  /** @param {AudioBuffer} sound @returns {Promise<void>} */
  #play(sound) {
    this.#stopping.throwIfAborted();
    const source = this.#context.createBufferSource();
    source.buffer = sound;
    source.connect(this.#context.destination);
    return new Promise((resolve, reject) => {
      const stop = () => {
        source.stop();
        reject(this.#stopping.reason);
      };
      this.#stopping.addEventListener("abort", stop, { once: true });
      source.onended = () => {
        this.#stopping.removeEventListener("abort", stop);
        resolve();
      };
      source.start();
    });
  }
}
