// Cuts an answer that is still being written into pieces to speak: the first is a sentence, so that it is heard soon.

/** Characters; shorter sentences are spoken with the next one. */
const LEAST = 20;
const WORD = /[\p{L}\p{N}]/u;
/** Signs of Markdown that nobody would read out. */
const MARKS = /[*_`#>|~]+/g;

export class SentenceCutter {
  #cutter = new Intl.Segmenter(undefined, { granularity: "sentence" });
  #taken = 0;

  /**
   * Return the pieces that are complete by now.
   * @param {string} text the whole answer so far
   * @param {boolean} isWhole whether nothing follows
   */
  take(text, isWhole) {
    const sentences = [...this.#cutter.segment(text.slice(this.#taken))].map(({ segment }) => segment);
    if (!isWhole) sentences.pop(); // the last can go on
    /** @type {string[]} */
    const pieces = [];
    let piece = "";
    for (const [place, sentence] of sentences.entries()) {
      piece += sentence;
      if (piece.trim().length < LEAST && !(isWhole && place === sentences.length - 1)) continue;
      this.#taken += piece.length;
      const words = piece.replace(MARKS, "").replace(/\s+/g, " ").trim();
      if (WORD.test(words)) pieces.push(words);
      piece = "";
    }
    return pieces;
  }
}
