// Small parts that show one figure or word.

import { html } from "../html.js";

/**
 * How much of something is used; without a known part it is a text alone.
 * @param {{label: string, value: number | null, max: number | null, text: string}} properties
 */
export function Meter({ label, value, max, text }) {
  const isKnown = value !== null && max !== null && max > 0;
  return html`<div class="meter">
    <span class="label">${label}</span>
    ${isKnown && html`<meter min="0" max=${max} value=${Math.min(value, max)} aria-label=${label}></meter>`}
    <span class="figure">${text}</span>
  </div>`;
}

/**
 * How far something is, 0 to 1; null where its engine cannot know.
 * @param {{label: string, fraction: number | null, note: string}} properties
 */
export function Advance({ label, fraction, note }) {
  return html`<div class="advance">
    <progress max="1" value=${fraction ?? undefined} aria-label=${label}></progress>
    <span class="figure">${fraction === null ? "" : `${Math.floor(fraction * 100)}%`}</span>
    ${note && html`<span class="note">${note}</span>`}
  </div>`;
}

/** @param {{word: string}} properties */
export function Badge({ word }) {
  return html`<span class=${`badge ${word}`}>${word}</span>`;
}
