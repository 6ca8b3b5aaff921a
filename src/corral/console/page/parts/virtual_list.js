// A long list of which only the rows in view are in the document; it stays at its end while the reader is there.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { html } from "../html.js";

/** Rows outside of the view on each side, so that scrolling shows no gap. */
const MARGIN = 10;
const AT_END_PX = 4;

/**
 * `size` rows, each `rowHeight` pixels high; `renderRow` draws the row of a number.
 * @param {{size: number, rowHeight: number, label: string, renderRow: (row: number) => unknown}} properties
 */
export function VirtualList({ size, rowHeight, label, renderRow }) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const isAtEnd = useRef(true);
  const [view, setView] = useState({ top: 0, height: 0 });

  useLayoutEffect(() => {
    const list = place.current;
    if (list === null) return;
    if (isAtEnd.current) list.scrollTop = list.scrollHeight;
    look(list);
  }, [size]);

  /** @param {HTMLDivElement} list */
  function look(list) {
    const { scrollTop: top, clientHeight: height } = list;
    isAtEnd.current = top + height >= list.scrollHeight - AT_END_PX;
    if (view.top !== top || view.height !== height) setView({ top, height });
  }

  const first = Math.max(0, Math.floor(view.top / rowHeight) - MARGIN);
  const end = Math.min(size, Math.ceil((view.top + view.height) / rowHeight) + MARGIN);
  const rows = Array.from({ length: Math.max(0, end - first) }, (_, offset) => first + offset);
  return html`<div
    class="virtual"
    ref=${place}
    role="region"
    aria-label=${label}
    tabindex="0"
    onScroll=${(/** @type {Event} */ event) => look(/** @type {HTMLDivElement} */ (event.currentTarget))}
  >
    <div class="whole" style=${{ height: `${size * rowHeight}px` }}>
      <ol style=${{ top: `${first * rowHeight}px` }} start=${first + 1}>
        ${rows.map((row) => renderRow(row))}
      </ol>
    </div>
  </div>`;
}
