// Markup of what a model wrote. HTML in it is shown as it was written, but for bare tags such as `<br>`; of all that
// comes out of the Markdown, the sanitizer leaves what can neither run nor load anything. Behind both is the page's
// policy, which refuses scripts that are not the server's and requests to elsewhere.

import DOMPurify from "dompurify";
import { Marked } from "marked";

const TAGS = (
  "a b blockquote br code dd del details div dl dt em h2 h3 h4 h5 h6 hr i img kbd li mark ol p pre q s samp small span " +
  "strong sub summary sup table tbody td th thead tr u ul var"
).split(" ");
const ATTRIBUTES = ["href", "title", "alt", "src", "start", "colspan", "rowspan"];
const ADDRESS = /^(?:https?|mailto):/i;
const PICTURE = /^data:image\/(?:png|jpeg|gif|webp);base64,/i;
const BARE_TAG = /^<\/?(?:b|br|del|details|i|kbd|mark|s|small|sub|summary|sup|u)\s*\/?>$/i;
const ESCAPES = /** @type {Readonly<Record<string, string>>} */ ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" });
/** Below the headings of the page. */
const DEEPER = 1;

const marked = new Marked({
  gfm: true,
  breaks: true,
  async: false,
  renderer: {
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + DEEPER);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    html({ text, block }) {
      if (BARE_TAG.test(text.trim())) return text;
      const shown = text.replace(/[&<>]/g, (sign) => ESCAPES[sign] ?? sign);
      return block ? `<p>${shown}</p>` : shown;
    },
  },
});

// The sanitizer's own document loads nothing; a picture from elsewhere loses its address before it is in the page.
DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node instanceof HTMLImageElement || node.nodeName === "IMG") {
    const source = node.getAttribute("src") ?? "";
    if (!PICTURE.test(source)) {
      node.removeAttribute("src");
      if (/^https?:/i.test(source)) node.setAttribute("title", source);
    }
  }
});

/**
 * Return the nodes of a text in Markdown.
 * @param {string} text
 */
export function makeNodes(text) {
  return sanitize(/** @type {string} */ (marked.parse(text)));
}

/**
 * Return the nodes of HTML that are harmless.
 * @param {string} markup
 * @returns {DocumentFragment}
 */
export function sanitize(markup) {
  const fragment = DOMPurify.sanitize(markup, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOWED_URI_REGEXP: ADDRESS,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
  fragment.querySelectorAll("img:not([src])").forEach((image) => image.replaceWith(nameImage(image)));
  for (const link of fragment.querySelectorAll("a")) {
    link.setAttribute("target", "_blank");
    link.setAttribute("rel", "noopener noreferrer");
  }
  for (const wide of fragment.querySelectorAll("pre, table")) makeReachable(wide);
  return fragment;
}

/** What is shown for a picture that is elsewhere: its name, and its address as a link. @param {Element} image */
function nameImage(image) {
  const words = `[picture: ${image.getAttribute("alt") || "without a name"}]`;
  const address = image.getAttribute("title");
  if (address === null || !ADDRESS.test(address) || image.closest("a")) return document.createTextNode(words);
  const link = document.createElement("a");
  link.href = address;
  link.textContent = words;
  return link;
}

/** What is wider than the page scrolls, by keyboard too. @param {Element} wide */
function makeReachable(wide) {
  const place = document.createElement("div");
  place.className = "wide";
  place.tabIndex = 0;
  place.setAttribute("role", "region");
  place.setAttribute("aria-label", wide.nodeName === "PRE" ? "Code" : "Table");
  wide.replaceWith(place);
  place.append(wide);
}
