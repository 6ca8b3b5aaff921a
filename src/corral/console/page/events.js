// Server-sent events from a fetch: unlike EventSource it shows why a stream is refused, and every kind of event.

/** @typedef {{id: string | null, kind: string, data: string}} ServerEvent */

/** Cuts text that arrives in pieces into events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export class EventParser {
  #rest = "";
  #onComment;

  /** @param {(words: string) => void} [onComment] takes what is no event, such as how a wait goes */
  constructor(onComment = () => {}) {
    this.#onComment = onComment;
  }

  /**
   * Return the events that are complete now.
   * @param {string} text
   * @returns {ServerEvent[]}
   */
  add(text) {
    const blocks = (this.#rest + text).replaceAll("\r\n", "\n").split("\n\n");
    this.#rest = blocks.pop() ?? "";
    return blocks.flatMap((block) => {
      for (const [, words = ""] of block.matchAll(/^: ?(.*)$/gm)) this.#onComment(words);
      return readBlock(block);
    });
  }
}

/**
 * @param {string} block
 * @returns {ServerEvent[]}
 */
function readBlock(block) {
  /** @type {string | null} */
  let id = null;
  let kind = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "id") id = value;
    if (name === "event") kind = value;
    if (name === "data") data.push(value);
  }
  return data.length ? [{ id, kind, data: data.join("\n") }] : [];
}
