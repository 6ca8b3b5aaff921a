// Makes a token, or an invitation that becomes one: the same name, role and limits.

import { useState } from "preact/hooks";
import { html } from "../html.js";
import { perform } from "../notices.js";
import { invitePerson, makeToken } from "../stores/access.js";

const LIMITS = [
  { name: "requests_per_minute", label: "Requests a minute" },
  { name: "tokens_per_minute", label: "Tokens a minute" },
  { name: "tokens_per_day", label: "Tokens a day" },
  { name: "concurrent", label: "Requests at a time" },
];
const DAY_S = 86_400;

export function KeyForm() {
  const [secret, setSecret] = useState(/** @type {{label: string, text: string} | null} */ (null));

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    const asked = readKey(new FormData(form));
    const isLink = /** @type {HTMLButtonElement | null} */ (event.submitter)?.value === "invitation";
    setSecret(null);
    const made = isLink
      ? await perform(() => invitePerson({ ...asked, lasts: 7 * DAY_S }), "")
      : await perform(() => makeToken(asked), "");
    if (made === undefined) return;
    form.reset();
    setSecret({ label: isLink ? `Invitation for ${asked["name"]}` : `Token of ${asked["name"]}`, text: made });
  }

  return html`<form onSubmit=${submit} aria-label="New access">
      <div class="filters">
        <label>Name <input name="name" required pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*" maxlength="64" autocomplete="off" /></label>
        <label>
          Role
          <select name="role" aria-label="Role">
            <option value="submitter">submitter</option>
            <option value="viewer">viewer</option>
            <option value="admin">admin</option>
          </select>
        </label>
        <label>Models (all when empty) <input name="models" placeholder="qwen*, llama3.2" spellcheck=${false} /></label>
        ${LIMITS.map(({ name, label }) => html`<label key=${name}>${label} <input name=${name} type="number" min="1" /></label>`)}
        <label>Ends on <input name="expires_at" type="date" /></label>
      </div>
      <p class="row">
        <button value="token">Make a token</button>
        <button value="invitation">Make an invitation link</button>
      </p>
    </form>
    ${secret && html`<${Secret} label=${secret.label} text=${secret.text} />`}`;
}

/** @param {FormData} form @returns {Record<string, unknown>} */
function readKey(form) {
  const text = (/** @type {string} */ name) => String(form.get(name) ?? "").trim();
  const models = text("models").split(",").map((model) => model.trim()).filter(Boolean);
  const limits = LIMITS.filter(({ name }) => text(name)).map(({ name }) => [name, Number(text(name))]);
  return {
    name: text("name"),
    role: text("role"),
    ...Object.fromEntries(limits),
    ...(models.length ? { models } : {}),
    ...(text("expires_at") ? { expires_at: new Date(`${text("expires_at")}T00:00`).toISOString() } : {}),
  };
}

/** Shown once: only its hash is kept. @param {{label: string, text: string}} properties */
function Secret({ label, text }) {
  const copy = () => perform(() => navigator.clipboard.writeText(text), "It is copied");
  return html`<section class="device" aria-label=${label}>
    <p>${label}: shown once, and good for whoever has it.</p>
    <pre tabindex="0" role="region" aria-label=${`Secret: ${label}`}>${text}</pre>
    ${navigator.clipboard !== undefined && html`<button class="small" onClick=${copy}>Copy</button>`}
  </section>`;
}
