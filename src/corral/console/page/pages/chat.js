// Talks with the models of the cluster, several side by side.

import { useEffect, useRef } from "preact/hooks";
import { html } from "../html.js";
import { AnswerView } from "../parts/answer.js";
import { ChatForm } from "../parts/chat_form.js";
import { ChatModels } from "../parts/chat_models.js";
import { ConversationList } from "../parts/conversation_list.js";
import { VoiceBar } from "../parts/voice_bar.js";
import { go, replace, route } from "../router.js";
import { kept, models, modelsProblem, openConversation, problem, readModels, startConversation, turns } from "../stores/chat.js";
import { refreshConversations } from "../stores/conversations.js";
import { canSubmit, session } from "../stores/session.js";

/** @typedef {import("../stores/chat.js").Turn} Turn */

export function ChatPage() {
  const asked = Number(route.value.query.get("conversation") ?? 0);
  useEffect(() => {
    void readModels();
    void refreshConversations();
  }, []);
  const isFirst = useRef(true);
  useEffect(() => {
    if (asked) void openConversation(asked);
    else if (!isFirst.current && kept.value !== null) startConversation();
    isFirst.current = false;
  }, [asked]);
  useEffect(() => {
    if (kept.value !== null && kept.value !== asked) replace(`/chat?conversation=${kept.value}`);
  }, [kept.value]);
  if (!canSubmit.value) return html`<p>Your role can look, and have no work done: it cannot chat.</p>`;
  if (models.value?.length === 0) return html`<p>No model here writes. <code>corral models pull NAME</code> gets one.</p>`;
  return html`<div class="chat">
    <div>
      <${ChatModels} />
      ${modelsProblem.value && html`<p class="warning" role="alert">${modelsProblem.value}</p>`}
      ${problem.value && html`<p class="warning" role="alert">${problem.value}</p>`}
      <div class="turns" role="log" aria-label="Conversation">
        ${turns.value.map((turn) => html`<${TurnView} key=${turn.id} turn=${turn} />`)}
      </div>
      <${ChatForm} />
      <${VoiceBar} />
      ${turns.value.length > 0 &&
      html`<p><button class="small" onClick=${() => (kept.value === null ? startConversation() : go("/chat"))}>New conversation</button></p>`}
      ${!session.value?.keeps_conversations && html`<p class="note">This server keeps no conversations.</p>`}
    </div>
    <${ConversationList} />
  </div>`;
}

/** @param {{turn: Turn}} properties */
function TurnView({ turn }) {
  return html`<section class="turn" data-kept=${turn.isKept} aria-label=${`Question: ${turn.asked.slice(0, 60)}`}>
    <p class="asked">${turn.asked}</p>
    ${turn.images.map((image, place) => html`<img key=${place} class="preview" src=${image} alt=${`Picture ${place + 1}`} />`)}
    <div class="side-by-side">
      ${turn.answers.map((answer, place) => html`<${AnswerView} key=${place} answer=${answer} />`)}
    </div>
  </section>`;
}
