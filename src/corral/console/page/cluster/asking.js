// A question to the server whose answer takes a while: what is asked, its answer, or every reason why there is none.

import { useRef, useState } from "preact/hooks";
import { html } from "../html.js";
import { ApiError } from "../api.js";
import { trackNewest } from "../newest.js";

/** @typedef {import("../types.js").Problem} Problem */

/**
 * The answer to the newest question, and a function that asks; an answer stays while the next one is on its way, and with `keeps` also
 * where there is none.
 * @template T
 * @param {boolean} [keeps]
 * @returns {{answer: T | null, problems: readonly Problem[], isBusy: boolean, ask: (make: () => Promise<T>) => Promise<void>}}
 */
export function useAnswer(keeps = false) {
  const [answer, setAnswer] = useState(/** @type {T | null} */ (null));
  const [problems, setProblems] = useState(/** @type {readonly Problem[]} */ ([]));
  const [isBusy, setBusy] = useState(false);
  const begin = useRef(trackNewest()).current;

  /** @param {() => Promise<T>} make */
  async function ask(make) {
    const isNewest = begin();
    setBusy(true);
    try {
      const made = await make();
      if (!isNewest()) return;
      setAnswer(made);
      setProblems([]);
    } catch (error) {
      if (!isNewest()) return;
      if (!keeps) setAnswer(null);
      setProblems(listProblems(error));
    }
    setBusy(false);
  }

  return { answer, problems, isBusy, ask };
}

/** @param {unknown} error @returns {readonly Problem[]} */
function listProblems(error) {
  const listed = error instanceof ApiError ? (error.refusal?.problems ?? []) : [];
  const what = error instanceof Error ? error.message : String(error);
  return listed.length ? listed : [{ code: "", what, where: null, hint: null }];
}

/** @param {{problems: readonly Problem[], isBusy: boolean}} properties */
export function Outcome({ problems, isBusy }) {
  return html`
    <p role="status" aria-busy=${isBusy}>${isBusy ? "Working it out" : ""}</p>
    ${problems.length > 0 &&
    html`<div class="warning" role="alert">
      <ul>
        ${problems.map(
          ({ what, where, hint }) => html`<li key=${`${where} ${what}`}>
            ${where ? `${where}: ` : ""}${what}${hint ? ` (${hint})` : ""}
          </li>`,
        )}
      </ul>
    </div>`}
  `;
}
