// Fields that few need, folded away; they open where something in them is set or wrong, and only the user folds them up.

import { useEffect, useRef } from "preact/hooks";
import { html } from "../html.js";
import { faults } from "../stores/draft.js";

/** @param {{title: string, isNeeded: boolean, children?: unknown}} properties */
export function More({ title, isNeeded, children }) {
  const place = useRef(/** @type {HTMLDetailsElement | null} */ (null));
  useEffect(() => {
    if (isNeeded && place.current !== null) place.current.open = true;
  }, [isNeeded, faults.value]);
  return html`<details ref=${place}>
    <summary>${title}</summary>
    <div class="fields">${children}</div>
  </details>`;
}
