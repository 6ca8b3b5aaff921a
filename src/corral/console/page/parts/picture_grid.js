// A grid of thumbnails of which only the rows in view are in the document; near its end it asks for more.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { html } from "../html.js";
import { chosen, findThumbnail, pictures, placeOf, showMorePictures, toggle } from "../stores/gallery.js";

/** @typedef {import("../types.js").Picture} Picture */

const CELL_PX = 170;
const ROW_PX = 210;
/** Rows outside of the view on each side, so that scrolling shows no gap. */
const MARGIN = 2;

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
  const { task, name, prompt, task_name: taskName } = picture;
  const words = prompt ?? taskName;
  return html`<li data-picture=${placeOf(picture)}>
    <a href=${`#/tasks/${task}`} title=${words}>
      <img src=${findThumbnail(picture)} alt=${`${words} (${name} of task ${task})`} loading="lazy" />
    </a>
    <label>
      <input type="checkbox" checked=${chosen.value.has(placeOf(picture))} onChange=${() => toggle(picture)} />
      ${` ${name}`}
    </label>
  </li>`;
}
