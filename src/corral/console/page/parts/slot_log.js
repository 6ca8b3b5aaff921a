// The last lines that the engine of a slot printed; for administrators.

import { useState } from "preact/hooks";
import { html } from "../html.js";
import { get } from "../api.js";
import { isAdmin } from "../stores/session.js";

/** @param {{slot: string}} properties */
export function SlotLog({ slot }) {
  const [text, setText] = useState(/** @type {string | null} */ (null));
  if (!isAdmin.value) return null;

  async function read() {
    try {
      const part = await get(`slots/logs?slot=${encodeURIComponent(slot)}&lines=200`);
      setText(part.lines.join("\n") || "It has printed nothing.");
    } catch (error) {
      setText(error instanceof Error ? error.message : String(error));
    }
  }

  return html`<div class="log">
    <button class="small" onClick=${read}>${text === null ? "Show" : "Read again"}: log of ${slot}</button>
    ${text !== null && html`<pre tabindex="0" role="region" aria-label=${`Log of ${slot}`}>${text}</pre>`}
  </div>`;
}
