// Where a question is written: text and pictures; Enter sends, Shift and Enter begins a new line.

import { useState } from "preact/hooks";
import { html } from "../html.js";
import { perform } from "../notices.js";
import { shrinkPicture } from "../pictures.js";
import { blind, chosen, isAnswering, send, stopAnswers } from "../stores/chat.js";

const MOST_PICTURES = 8;

export function ChatForm() {
  const [text, setText] = useState("");
  const [images, setImages] = useState(/** @type {readonly string[]} */ ([]));
  const canSend = !isAnswering.value && chosen.value.length > 0 && (text.trim() !== "" || images.length > 0);
  const seesNone = blind.value.length === chosen.value.length;

  /** @param {Event} [event] */
  function submit(event) {
    event?.preventDefault();
    if (!canSend) return;
    setText("");
    setImages([]);
    void send(text, images);
  }

  /** @param {KeyboardEvent} event */
  function press(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  }

  /** @param {Event} event */
  async function attach(event) {
    const field = /** @type {HTMLInputElement} */ (event.currentTarget);
    const files = [...(field.files ?? [])].slice(0, MOST_PICTURES - images.length);
    const added = await perform(() => Promise.all(files.map(shrinkPicture)), "");
    field.value = "";
    if (added !== undefined) setImages([...images, ...added]);
  }

  return html`<form class="ask" onSubmit=${submit} aria-label="Ask">
    ${images.length > 0 &&
    html`<ul class="attached">
      ${images.map(
        (image, place) => html`<li key=${place}>
          <img src=${image} alt=${`Picture ${place + 1}`} />
          <button
            type="button"
            class="small"
            aria-label=${`Remove picture ${place + 1}`}
            onClick=${() => setImages(images.filter((_, at) => at !== place))}
          >
            Remove
          </button>
        </li>`,
      )}
    </ul>`}
    ${images.length > 0 &&
    blind.value.length > 0 &&
    html`<p class="warning">${blind.value.join(", ")} looks at no pictures, and is asked without.</p>`}
    <textarea
      aria-label="Your question"
      rows="3"
      value=${text}
      onInput=${(/** @type {Event} */ event) => setText(/** @type {HTMLTextAreaElement} */ (event.currentTarget).value)}
      onKeyDown=${press}
    />
    <p class="row">
      ${isAnswering.value
        ? html`<button type="button" onClick=${stopAnswers}>Stop</button>`
        : html`<button disabled=${!canSend}>Send</button>`}
      ${!seesNone &&
      html`<label class="attach">
        Attach pictures <input type="file" accept="image/*" multiple onChange=${attach} />
      </label>`}
    </p>
  </form>`;
}
