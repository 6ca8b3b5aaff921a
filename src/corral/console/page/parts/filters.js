// Chooses tasks; the choice is in the address, so that it can be kept and sent.

import { html } from "../html.js";
import { replace, route } from "../router.js";

const STATES = ["waiting", "queued", "leased", "running", "succeeded", "failed", "cancelled"];
const WORDS = [
  { name: "engine", label: "Engine" },
  { name: "owner", label: "Owner" },
  { name: "queue", label: "Queue" },
  { name: "slot", label: "Slot" },
  { name: "label", label: "Label (key=value)" },
];

export function Filters() {
  const { query } = route.value;

  /** @param {Event} event */
  function choose(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    const given = [...new FormData(form)].filter(([, value]) => value !== "");
    const asked = new URLSearchParams(given.map(([name, value]) => [name, String(value).trim()]));
    replace(`/tasks?${asked}`);
  }

  return html`<form class="filters" onChange=${choose} onSubmit=${choose} aria-label="Which tasks">
    <label>
      State
      <select name="state" value=${query.get("state") ?? ""}>
        <option value="">any</option>
        ${STATES.map((state) => html`<option key=${state} value=${state}>${state}</option>`)}
      </select>
    </label>
    ${WORDS.map(
      ({ name, label }) => html`<label key=${name}>
        ${label}
        <input name=${name} value=${query.get(name) ?? ""} autocomplete="off" spellcheck=${false} />
      </label>`,
    )}
    <label>
      Order
      <select name="order" value=${query.get("order") ?? "newest"}>
        <option value="newest">newest first</option>
        <option value="oldest">oldest first</option>
      </select>
    </label>
  </form>`;
}
