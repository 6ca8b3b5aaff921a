// Where a question is written: text and pictures; Enter sends, Shift and Enter begins a new line.

import { useSignal } from "@preact/signals";
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { announce, perform } from "../notices.js";
import { shrinkPicture } from "../pictures.js";
import { blind, chosen, isAnswering, send, stopAnswers } from "../stores/chat.js";

const MOST_PICTURES = 8;

export function ChatForm() {
  const [text, setText] = useState("");
  const images = useSignal(/** @type {readonly string[]} */ ([]));
  const canSend = !isAnswering.value && chosen.value.length > 0 && (text.trim() !== "" || images.value.length > 0);
  const seesNone = blind.value.length === chosen.value.length;

  /** @param {Event} [event] */
  function submit(event) {
    event?.preventDefault();
    if (!canSend) return;
    setText("");
    void send(text, images.value);
    images.value = [];
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
    const files = [...(field.files ?? [])].slice(0, MOST_PICTURES + 1);
    const added = (await perform(() => Promise.all(files.map(shrinkPicture)), "")) ?? [];
    field.value = "";
    const all = [...images.value, ...added];
    images.value = all.slice(0, MOST_PICTURES);
    if (all.length > MOST_PICTURES) announce(`A question takes ${MOST_PICTURES} pictures: the others are left out`, true);
  }

  return html`<form class="ask" onSubmit=${submit} aria-label="Ask">
    ${images.value.length > 0 &&
    html`<ul class="attached">
      ${images.value.map(
        (image, place) => html`<li key=${place}>
          <img src=${image} alt=${`Picture ${place + 1}`} />
          <button
            type="button"
            class="small"
            aria-label=${`Remove picture ${place + 1}`}
            onClick=${() => (images.value = images.value.filter((_, at) => at !== place))}
          >
            Remove
          </button>
        </li>`,
      )}
    </ul>`}
    ${images.value.length > 0 &&
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
