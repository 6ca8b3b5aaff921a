// Chooses whom a conversation is with, and what all of them are told first.

import { html } from "../html.js";
import { chosen, models, system } from "../stores/chat.js";

const MOST = 4;

export function ChatModels() {
  const known = models.value ?? [];
  /**
   * @param {number} place
   * @param {string} name
   */
  const choose = (place, name) => {
    chosen.value = chosen.value.map((before, at) => (at === place ? name : before));
  };
  const add = () => {
    const other = known.find(({ id }) => !chosen.value.includes(id)) ?? known[0];
    if (other !== undefined) chosen.value = [...chosen.value, other.id];
  };
  /** @param {number} place */
  const nameChoice = (place) => (chosen.value.length > 1 ? `Model ${place + 1}` : "Model");
  return html`<div class="filters">
    ${chosen.value.map(
      (name, place) => html`<div key=${place} class="choice">
        <label>
          ${nameChoice(place)}
          <select
            aria-label=${nameChoice(place)}
            value=${name}
            onChange=${(/** @type {Event} */ event) =>
              choose(place, /** @type {HTMLSelectElement} */ (event.currentTarget).value)}
          >
            ${!known.some(({ id }) => id === name) && html`<option value=${name}>${name} (not here now)</option>`}
            ${known.map(({ id }) => html`<option key=${id} value=${id}>${id}</option>`)}
          </select>
        </label>
        ${chosen.value.length > 1 &&
        html`<button
          class="small"
          aria-label=${`Remove model ${place + 1}`}
          onClick=${() => (chosen.value = chosen.value.filter((_, at) => at !== place))}
        >
          Remove
        </button>`}
      </div>`,
    )}
    ${known.length > 1 &&
    chosen.value.length < MOST &&
    html`<button class="small" onClick=${add}>Ask another model beside it</button>`}
    <details>
      <summary>System prompt</summary>
      <textarea
        aria-label="System prompt"
        rows="3"
        value=${system.value}
        onInput=${(/** @type {Event} */ event) =>
          (system.value = /** @type {HTMLTextAreaElement} */ (event.currentTarget).value)}
      />
    </details>
  </div>`;
}
