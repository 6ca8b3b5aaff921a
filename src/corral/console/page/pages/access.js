// Who gets in: tokens with their limits, and invitations that are open.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { formatDay } from "../format.js";
import { perform } from "../notices.js";
import { KeyForm } from "../parts/key_form.js";
import { invitations, problem, refreshAccess, revokeToken, tokens, withdrawInvitation } from "../stores/access.js";

/** @typedef {import("../types.js").Token} Token */
/** @typedef {import("../types.js").Invitation} Invitation */

const COLUMNS = ["Name", "Owner", "Role", "Limits", "Made at", "Last used", "Actions"];

export function AccessPage() {
  useEffect(() => void refreshAccess(), []);
  const warning = problem.value && html`<p class="warning" role="alert">${problem.value}</p>`;
  if (tokens.value === null) return warning || html`<p aria-busy="true">Loading</p>`;
  // The form stays in its place whatever goes wrong with the lists: it shows the secret of a new token, once.
  return html`
    ${warning}
    <${KeyForm} />
    ${invitations.value.length > 0 &&
    html`<h2>Open invitations</h2>
      <ul>
        ${invitations.value.map((invitation) => html`<${InvitationRow} key=${invitation.name} invitation=${invitation} />`)}
      </ul>`}
    <h2>Tokens</h2>
    ${tokens.value.length === 0 && html`<p>There is none yet.</p>`}
    ${tokens.value.length > 0 &&
    html`<div class="wide" role="region" aria-label="Tokens" tabindex="0">
      <table class="cards">
        <thead>
          <tr>${COLUMNS.map((name) => html`<th key=${name} scope="col">${name}</th>`)}</tr>
        </thead>
        <tbody>${tokens.value.map((token) => html`<${TokenRow} key=${token.name} token=${token} />`)}</tbody>
      </table>
    </div>`}
  `;
}

/** @param {{invitation: Invitation}} properties */
function InvitationRow({ invitation: { name, role, expires_at: end, invited_by: by } }) {
  const withdraw = () => perform(() => withdrawInvitation(name), `The invitation of ${name} is withdrawn`);
  return html`<li>
    ${name} (${role}), invited by ${by}, until ${formatDay(end)}
    <button class="quiet" aria-label=${`Withdraw the invitation of ${name}`} onClick=${withdraw}>Withdraw</button>
  </li>`;
}

/** @param {{token: Token}} properties */
function TokenRow({ token }) {
  const { name, owner, role, revoked_at: revokedAt, last_used_at: usedAt, expires_at: end } = token;
  const revoke = () => perform(() => revokeToken(name), `The token of ${name} is revoked`);
  const hasEnded = end !== null && Date.parse(end) <= Date.now();
  return html`<tr data-token=${name}>
    <td data-label="Name">${name}</td>
    <td data-label="Owner">${owner}</td>
    <td data-label="Role">${role}</td>
    <td data-label="Limits">${describeLimits(token)}</td>
    <td data-label="Made at">${formatDay(token.created_at)}</td>
    <td data-label="Last used">${usedAt === null ? "never" : formatDay(usedAt)}</td>
    <td data-label="Actions">
      ${revokedAt !== null
        ? html`<span class="note">revoked</span>`
        : html`${hasEnded && html`<span class="note">expired</span>`}
            <button class="small" aria-label=${`Revoke ${name}`} onClick=${revoke}>Revoke</button>`}
    </td>
  </tr>`;
}

/** @param {Token} token */
function describeLimits(token) {
  const words = [
    token.models && `models ${token.models.join(", ")}`,
    token.requests_per_minute && `${token.requests_per_minute} requests/min`,
    token.tokens_per_minute && `${token.tokens_per_minute} tokens/min`,
    token.tokens_per_day && `${token.tokens_per_day} tokens/day`,
    token.concurrent && `${token.concurrent} at a time`,
    token.expires_at && `until ${formatDay(token.expires_at)}`,
  ];
  return words.filter(Boolean).join("; ") || "none";
}
