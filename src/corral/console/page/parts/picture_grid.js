// A grid of thumbnails of which only the rows in view are in the document; near its end it asks for more.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { html } from "../html.js";
import { perform } from "../notices.js";
import { DECISIONS, chosen, decide, findThumbnail, pictures, placeOf, showMorePictures, toggle } from "../stores/gallery.js";
import { canChange } from "../stores/session.js";

/** @typedef {import("../types.js").Picture} Picture */
/** @typedef {import("../stores/gallery.js").Decision} Decision */

const CELL_PX = 170;
const ROW_PX = 210;
/** Rows outside of the view on each side, so that scrolling shows no gap. */
const MARGIN = 2;
/** Of the picture that has the focus. @type {ReadonlyMap<string, Decision>} */
const KEYS = new Map([["f", "favourite"], ["k", "keep"], ["r", "reject"], ["u", null]]);

export function PictureGrid() {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [view, setView] = useState({ top: 0, height: 600, width: 800 });
  const all = pictures.value ?? [];
  const columns = Math.max(1, Math.floor(view.width / CELL_PX));
  const rows = Math.ceil(all.length / columns);
  const first = Math.max(0, Math.floor(view.top / ROW_PX) - MARGIN);
  const end = Math.min(rows, Math.ceil((view.top + view.height) / ROW_PX) + MARGIN);

  function look() {
    const grid = place.current;
    if (grid === null) return;
    setView({ top: grid.scrollTop, height: grid.clientHeight, width: grid.clientWidth });
  }
  useLayoutEffect(() => {
    look();
    addEventListener("resize", look);
    return () => removeEventListener("resize", look);
  }, []);
  useLayoutEffect(() => {
    if (end + MARGIN >= rows) void showMorePictures();
  }, [end, rows]);

  const shown = all.slice(first * columns, end * columns);
  return html`<div class="virtual gallery" ref=${place} role="region" aria-label="Pictures" tabindex="0" onScroll=${look}>
    <div class="whole" style=${{ height: `${rows * ROW_PX}px` }}>
      <ul style=${{ top: `${first * ROW_PX}px`, gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))` }}>
        ${shown.map((picture) => html`<${Cell} key=${placeOf(picture)} picture=${picture} />`)}
      </ul>
    </div>
  </div>`;
}

/** @param {{picture: Picture}} properties */
function Cell({ picture }) {
  const { task, name, prompt, task_name: taskName, owner, note } = picture;
  const words = prompt ?? taskName;
  const isOwn = canChange(owner);

  /** @param {KeyboardEvent} event */
  function press(event) {
    const decision = KEYS.get(event.key);
    const isChoice = event.target instanceof HTMLSelectElement; // which has letters of its own
    if (decision === undefined || isChoice || !isOwn || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    void perform(() => decide([placeOf(picture)], decision), "");
  }

  return html`<li data-picture=${placeOf(picture)} data-decision=${picture.decision ?? "none"} onKeyDown=${press}>
    <a href=${`#/tasks/${task}`} title=${note ? `${words}\n\nNote: ${note}` : words}>
      <img src=${findThumbnail(picture)} alt=${`${words} (${name} of task ${task})`} loading="lazy" />
    </a>
    <div class="facts">
      <label>
        <input type="checkbox" checked=${chosen.value.has(placeOf(picture))} onChange=${() => toggle(picture)} />
        ${` ${name}`}
      </label>
      ${isOwn ? html`<${Choice} picture=${picture} />` : html`<span class="note">${picture.decision}</span>`}
    </div>
  </li>`;
}

/** @param {{picture: Picture}} properties */
function Choice({ picture }) {
  const { task, name, decision } = picture;

  /** @param {Event} event */
  function choose(event) {
    const { value } = /** @type {HTMLSelectElement} */ (event.currentTarget);
    void perform(() => decide([placeOf(picture)], DECISIONS.find((known) => known === value) ?? null), "");
  }

  return html`<select aria-label=${`Decision about the picture ${task}/${name}`} value=${decision ?? ""} onChange=${choose}>
    <option value="">undecided</option>
    ${DECISIONS.map((known) => html`<option key=${known} value=${known}>${known}</option>`)}
  </select>`;
}
