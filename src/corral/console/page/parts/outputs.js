// Files that a task made: pictures, sound, text and tables in place, all others to download.

import { useEffect, useState } from "preact/hooks";
import { html } from "../html.js";
import { ROOT, send } from "../api.js";
import { formatBytes } from "../format.js";

/** @typedef {import("../types.js").Output} Output */

/** Bytes of a text that are shown. */
const MOST_TEXT = 64 * 1024;
const MOST_ROWS = 200;
const PICTURE = /^image\/(png|jpeg|gif|webp|avif|bmp)$/;
const TEXT = /^(text\/|application\/(json|x-ndjson|yaml))/;

/** @param {{task: number, outputs: readonly Output[]}} properties */
export function Outputs({ task, outputs }) {
  return html`<ul class="outputs">
    ${outputs.map((output) => html`<${OutputView} key=${output.name} task=${task} output=${output} />`)}
  </ul>`;
}

/** @param {{task: number, output: Output}} properties */
function OutputView({ task, output }) {
  const address = new URL(`tasks/${task}/outputs/${encodeURIComponent(output.name)}`, ROOT).href;
  return html`<li data-output=${output.name}>
    <p>
      <a href=${address} download=${output.name}>${output.name}</a>
      <span class="note">${output.media_type}, ${formatBytes(output.size)}</span>
    </p>
    ${PICTURE.test(output.media_type) && html`<img src=${address} alt=${output.name} loading="lazy" />`}
    ${output.media_type.startsWith("audio/") &&
    html`<audio controls preload="metadata" src=${address} aria-label=${output.name}></audio>`}
    ${output.media_type.startsWith("video/") &&
    html`<video controls preload="metadata" src=${address} aria-label=${output.name}></video>`}
    ${TEXT.test(output.media_type) && html`<${TextView} address=${address} output=${output} />`}
  </li>`;
}

/** @param {{address: string, output: Output}} properties */
function TextView({ address, output }) {
  const [text, setText] = useState(/** @type {string | null} */ (null));
  useEffect(() => {
    readStart(address, output.size).then(setText, (error) => setText(String(error)));
  }, [address]);
  if (text === null) return html`<p aria-busy="true">Loading</p>`;
  const isCut = output.size > MOST_TEXT;
  return html`
    ${/^text\/(csv|tab-separated-values)$/.test(output.media_type)
      ? html`<${Table} text=${text} separator=${output.media_type === "text/csv" ? "," : "\t"} name=${output.name} />`
      : html`<pre tabindex="0" role="region" aria-label=${output.name}>${text}</pre>`}
    ${isCut && html`<p class="note">The first ${formatBytes(MOST_TEXT)} of ${formatBytes(output.size)}</p>`}
  `;
}

/**
 * @param {string} address
 * @param {number} size
 */
async function readStart(address, size) {
  const range = size > MOST_TEXT ? { headers: { Range: `bytes=0-${MOST_TEXT - 1}` } } : {};
  return (await send(new URL(address), range)).text();
}

/** @param {{text: string, separator: string, name: string}} properties */
function Table({ text, separator, name }) {
  const [head = [], ...rows] = splitTable(text, separator).slice(0, MOST_ROWS + 1);
  return html`<div class="wide" role="region" aria-label=${name} tabindex="0">
    <table>
      <thead>
        <tr>${head.map((cell) => html`<th scope="col">${cell}</th>`)}</tr>
      </thead>
      <tbody>
        ${rows.map((row) => html`<tr>${row.map((cell) => html`<td>${cell}</td>`)}</tr>`)}
      </tbody>
    </table>
  </div>`;
}

/**
 * Cut a table into cells (RFC 4180).
 * @param {string} text
 * @param {string} separator
 */
export function splitTable(text, separator) {
  /** @type {string[][]} */
  const rows = [[]];
  let cell = "";
  let isQuoted = false;
  for (let place = 0; place < text.length; place += 1) {
    const character = text[place];
    if (isQuoted && character === '"' && text[place + 1] === '"') {
      cell += '"';
      place += 1;
    } else if (character === '"') isQuoted = !isQuoted;
    else if (isQuoted || (character !== separator && character !== "\n" && character !== "\r")) cell += character;
    else if (character === "\r") continue;
    else {
      rows.at(-1)?.push(cell);
      cell = "";
      if (character === "\n") rows.push([]);
    }
  }
  if (cell || rows.at(-1)?.length) rows.at(-1)?.push(cell);
  return rows.filter((row) => row.length > 0);
}
