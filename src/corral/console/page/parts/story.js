// Lines of the story, oldest first.

import { html } from "../html.js";
import { formatClock, formatWord } from "../format.js";
import { lines, storySize } from "../stores/story.js";
import { nameOf } from "../stores/waiting.js";
import { VirtualList } from "./virtual_list.js";

/** @typedef {import("../types.js").Line} Line */

const ROW_PX = 26;

/** All that has happened since the page was opened. */
export function LiveStory() {
  const size = storySize.value;
  if (size === 0) return html`<p>Nothing has happened since this page was opened.</p>`;
  return html`
    <p class="note">${size} ${size === 1 ? "event" : "events"} since this page was opened</p>
    <${VirtualList}
      size=${lines.length}
      rowHeight=${ROW_PX}
      label="Events"
      version=${size}
      renderRow=${(/** @type {number} */ row) => {
        const line = lines[row];
        return line && html`<${StoryRow} key=${line.id} line=${line} withTask />`;
      }}
    />
  `;
}

/** @param {{line: Line, withTask?: boolean}} properties */
export function StoryRow({ line, withTask = false }) {
  return html`<li class="line" data-line=${line.id}>
    <time datetime=${line.at}>${formatClock(line.at)}</time>
    ${withTask && line.task !== null && html`<a href=${`#/tasks/${line.task}`}>${nameOf(line.task)}</a>`}
    <span class="kind">${formatWord(line.kind)}</span>
    <span class="note">${describeLine(line)}</span>
  </li>`;
}

/** The facts of a line, without those that its kind says. @param {Line} line */
function describeLine(line) {
  const facts = Object.entries(line.data).filter(([name]) => name !== "state" && name !== "attempt");
  return facts.map(([name, value]) => `${formatWord(name)}: ${describeValue(value)}`).join(", ");
}

/** @param {unknown} value @returns {string} */
function describeValue(value) {
  if (Array.isArray(value)) return value.map(describeValue).join(", ");
  if (value !== null && typeof value === "object") {
    return "what" in value ? String(value.what) : JSON.stringify(value);
  }
  return String(value);
}
