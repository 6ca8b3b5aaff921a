// Asks for a token; it stays in a cookie that scripts cannot read.

import { useState } from "preact/hooks";
import { html } from "../html.js";
import { logIn, reason } from "../stores/session.js";

export function LogInPage() {
  const [isBusy, setBusy] = useState(false);

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    const field = /** @type {HTMLInputElement} */ (form.elements.namedItem("token"));
    setBusy(true);
    if (!(await logIn({ token: field.value.trim() }))) field.select();
    setBusy(false);
  }

  return html`<main class="plain">
    <h1>Log in to Corral</h1>
    ${reason.value && html`<p class="bad" role="alert">${reason.value}</p>`}
    <form onSubmit=${submit}>
      <label for="token">Token</label>
      <input id="token" name="token" type="password" autocomplete="current-password" required spellcheck=${false} />
      <button disabled=${isBusy}>Log in</button>
    </form>
    <p>
      On the machine of the server, <code>corral console</code> prints a link that logs you in, and
      ${" "}<code>corral tokens create NAME</code> makes a token.
    </p>
  </main>`;
}
