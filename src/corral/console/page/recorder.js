// The microphone: one recording at a time, in the format that the browser has; the microphone is let go with it.

/** Why no page of this address can have a microphone; empty where one can. */
export function explainNoMicrophone() {
  if (!isSecureContext) {
    return "Browsers give a microphone to pages over TLS (or on this machine, by localhost) alone, and this is neither.";
  }
  return navigator.mediaDevices && globalThis.MediaRecorder ? "" : "This browser records no sound.";
}

export class Recorder {
  #recorder;
  /** @type {Blob[]} */
  #pieces = [];

  /** @param {MediaStream} microphone */
  constructor(microphone) {
    this.#recorder = new MediaRecorder(microphone);
    this.#recorder.ondataavailable = ({ data }) => this.#pieces.push(data);
    this.#recorder.start();
  }

  /** Ask for the microphone and begin. Throws an error in words for people. */
  static async begin() {
    try {
      return new Recorder(await navigator.mediaDevices.getUserMedia({ audio: true }));
    } catch (error) {
      throw new Error(explain(error));
    }
  }

  /** End and return what was recorded. @returns {Promise<Blob>} */
  async end() {
    const ended = new Promise((resolve) => (this.#recorder.onstop = resolve));
    this.#recorder.stop();
    await ended;
    for (const track of this.#recorder.stream.getTracks()) track.stop();
    return new Blob(this.#pieces, { type: this.#recorder.mimeType });
  }
}

/** @param {unknown} error */
function explain(error) {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") return "The browser does not let this page hear: allow the microphone beside its address.";
  if (name === "NotFoundError") return "There is no microphone.";
  return `The microphone cannot be used: ${error instanceof Error ? error.message : String(error)}`;
}
