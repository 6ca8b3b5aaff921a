// The conversations that the server keeps: search, open, delete.

import { html } from "../html.js";
import { formatDay } from "../format.js";
import { perform } from "../notices.js";
import { go } from "../router.js";
import { kept } from "../stores/chat.js";
import {
  conversations,
  deleteConversation,
  next,
  problem,
  search,
  searchConversations,
  showMoreConversations,
} from "../stores/conversations.js";

/** @typedef {import("../types.js").Conversation} Conversation */

export function ConversationList() {
  const listed = conversations.value;
  return html`<section aria-label="Conversations" class="kept">
    <label>
      Search conversations
      <input
        type="search"
        value=${search.value}
        onInput=${(/** @type {Event} */ event) =>
          void searchConversations(/** @type {HTMLInputElement} */ (event.currentTarget).value)}
      />
    </label>
    ${problem.value && html`<p class="warning" role="alert">${problem.value}</p>`}
    ${listed?.length === 0 && html`<p class="note">${search.value.trim() ? "No conversation has these words." : "None is kept yet."}</p>`}
    <ul>
      ${(listed ?? []).map((conversation) => html`<${Row} key=${conversation.id} conversation=${conversation} />`)}
    </ul>
    ${next.value !== null && html`<button class="small" onClick=${() => perform(showMoreConversations, "")}>Show older ones</button>`}
  </section>`;
}

/** @param {{conversation: Conversation}} properties */
function Row({ conversation }) {
  const { id, title } = conversation;
  async function askToRemove() {
    const remove = () => deleteConversation(id).then(() => true);
    const isGone = await perform(remove, "The conversation is deleted");
    if (isGone && kept.value === id) go("/chat");
  }
  return html`<li data-conversation=${id}>
    <a href=${`#/chat?conversation=${id}`} aria-current=${kept.value === id ? "true" : null}>${title}</a>
    <span class="note">${formatDay(conversation.changed_at)}</span>
    <button class="quiet" aria-label=${`Delete ${title}`} onClick=${askToRemove}>Delete</button>
  </li>`;
}
