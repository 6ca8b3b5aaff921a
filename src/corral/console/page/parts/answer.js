// One answer: its text, where it is written and how fast, or what it waits for.

import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "../html.js";

/** @typedef {import("../stores/chat.js").Answer} Answer */

/** @param {{answer: Answer}} properties */
export function AnswerView({ answer }) {
  const { model, text, thought, wait, problem, isWhole } = answer;
  return html`<article class="answer" aria-label=${`Answer of ${model}`} aria-busy=${!isWhole}>
    <p class="row"><strong>${model}</strong> <span class="note">${describeSpeed(answer)}</span></p>
    ${wait && html`<p class="note" data-wait>${wait}</p>`}
    ${!text && !wait && !isWhole && html`<p class="note">Waiting for the first word</p>`}
    ${thought && html`<details><summary>Thoughts</summary><p class="thought">${thought}</p></details>`}
    <${Markdown} text=${text} />
    ${problem && html`<p class=${problem === "stopped" ? "note" : "bad"} role="alert">${problem}</p>`}
  </article>`;
}

/** Where it runs, and tokens per second once the server has counted them. @param {Answer} answer */
function describeSpeed({ place, tokens, seconds, isWhole }) {
  const speed = tokens !== null && seconds ? `${(tokens / seconds).toFixed(1)} tokens/s` : "";
  const count = tokens === null ? "" : `${tokens} tokens`;
  const unknown = isWhole && tokens === null && seconds ? `${seconds.toFixed(1)} s, tokens unknown` : "";
  return [place === null ? "" : `on ${place}`, count, speed, unknown].filter(Boolean).join(", ");
}

/** @param {{text: string}} properties */
function Markdown({ text }) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [isPlain, setPlain] = useState(false);
  useEffect(() => {
    let isNewest = true;
    import("./markdown.js")
      .then(({ makeNodes }) => makeNodes(text))
      .then(
        (nodes) => show(nodes, false),
        () => show(text, true),
      );
    /** @param {Node | string} content @param {boolean} withoutMarkup */
    function show(content, withoutMarkup) {
      if (!isNewest) return;
      place.current?.replaceChildren(content);
      setPlain(withoutMarkup);
    }
    return () => {
      isNewest = false;
    };
  }, [text]);
  return html`<div class=${isPlain ? "said thought" : "said"} ref=${place}></div>
    ${isPlain && html`<p class="warning" role="alert">This is the text as it was written: its markup cannot be shown. Reload the page.</p>`}`;
}
