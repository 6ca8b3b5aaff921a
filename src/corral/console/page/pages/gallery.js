// Everything that was made: search, choose, download; a picture leads to its task, which can be cloned with changes.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { perform } from "../notices.js";
import { PictureGrid } from "../parts/picture_grid.js";
import { replace, route } from "../router.js";
import { canSubmit } from "../stores/session.js";
import { DECISIONS, chosen, decide, findArchive, pictures, problem, showPictures } from "../stores/gallery.js";

const WORDS = [
  { name: "search", label: "Prompt or other input" },
  { name: "model", label: "Model" },
  { name: "seed", label: "Seed" },
  { name: "batch", label: "Batch" },
  { name: "owner", label: "Owner" },
];
const UNDECIDED = "undecided";

export function GalleryPage() {
  const asked = route.value.query.toString();
  useEffect(() => void showPictures(asked), [asked]);
  const count = chosen.value.size;
  return html`
    <${PictureFilters} />
    ${problem.value && html`<p class="warning" role="alert">${problem.value}</p>`}
    <p role="status">
      ${count === 0 && "Choose pictures to download them together. F, K, R and U decide about the picture that has the focus."}
      ${count > 0 && html`<a href=${findArchive()} download="pictures.zip">Download ${count} as a ZIP</a>`}
    </p>
    ${count > 0 && canSubmit.value && html`<${DecisionForm} />`}
    ${pictures.value === null && !problem.value && html`<p aria-busy="true">Loading</p>`}
    ${pictures.value?.length === 0 && html`<p>No picture is like that.</p>`}
    ${pictures.value !== null && pictures.value.length > 0 && html`<${PictureGrid} key=${asked} />`}
  `;
}

/** Drawn anew only for another address: pictures that arrive leave alone what is being typed. */
function PictureFilters() {
  const { query } = route.value;

  /** @param {Event} event */
  function choose(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    const asked = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value !== "") asked.append(name, String(value).trim());
    if (asked.get("decision") === UNDECIDED) {
      asked.delete("decision");
      asked.append("decided", "false");
    }
    replace(`/gallery?${asked}`);
  }

  return html`<form class="filters" onChange=${choose} onSubmit=${choose} aria-label="Which pictures">
    ${WORDS.map(
      ({ name, label }) => html`<label key=${name}>
        ${label}
        <input name=${name} value=${query.get(name) ?? ""} autocomplete="off" spellcheck=${false} />
      </label>`,
    )}
    <label>
      Decision
      <select name="decision" aria-label="Decision" value=${query.get("decided") === "false" ? UNDECIDED : (query.get("decision") ?? "")}>
        <option value="">any or none</option>
        ${[...DECISIONS, UNDECIDED].map((word) => html`<option key=${word} value=${word}>${word}</option>`)}
      </select>
    </label>
  </form>`;
}

/** Decides about all chosen pictures, with a note. */
function DecisionForm() {
  /** @param {Event} event */
  async function store(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    const given = new FormData(form);
    const decision = DECISIONS.find((known) => known === given.get("decision")) ?? null;
    const note = String(given.get("note")).trim();
    const places = [...chosen.value];
    const decided = () => decide(places, decision, note || undefined).then(() => true);
    if (await perform(decided, `Decided about ${places.length === 1 ? "1 picture" : `${places.length} pictures`}`)) form.reset();
  }

  return html`<form class="filters" onSubmit=${store} aria-label="Decision about the chosen pictures">
    <label>
      Chosen ones
      <select name="decision" aria-label="Chosen ones">
        ${[...DECISIONS, UNDECIDED].map((word) => html`<option key=${word} value=${word}>${word}</option>`)}
      </select>
    </label>
    <label>Note <input name="note" maxlength="2000" autocomplete="off" /></label>
    <button>Decide</button>
  </form>`;
}
