// A night of each workload, played with the production policy: figures, and what each slot does as a chart.

import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { html } from "../html.js";
import { ROOT, get, send } from "../api.js";
import { FormField } from "../parts/form_field.js";
import { Outcome, useAnswer } from "./asking.js";
import { FigureView, OriginsChoice } from "./figure.js";
import { Table } from "./table.js";

/** @typedef {import("../types.js").ForecastAnswer} ForecastAnswer */
/** @typedef {import("../types.js").WorkloadForecast} WorkloadForecast */

const night = signal("");
const measured = signal("");

export function ForecastPart() {
  const { answer, problems, isBusy, ask } = /** @type {ReturnType<typeof useAnswer<ForecastAnswer>>} */ (useAnswer());
  const [query, setQuery] = useState("");

  /** @param {Event} [event] */
  function play(event) {
    event?.preventDefault();
    const asked = new URLSearchParams();
    if (night.value.trim()) asked.set("night", night.value.trim());
    if (measured.value.trim()) asked.set("measured", measured.value.trim());
    setQuery(asked.toString());
    void ask(() => get(`cluster/forecast?${asked}`));
  }

  useEffect(play, []);
  return html`
    <form class="work fields" onSubmit=${play} aria-label="Night">
      <${FormField}
        id="night"
        label="Length of the night"
        value=${night.value}
        onChange=${(/** @type {string} */ text) => (night.value = text)}
        note="Such as 8h; that of the cluster file when left out."
      />
      <${FormField}
        id="measured"
        label="Durations measured since"
        value=${measured.value}
        onChange=${(/** @type {string} */ text) => (measured.value = text)}
        note="Such as 7d; those of the cluster file when left out."
      />
      <p><button disabled=${isBusy}>Play the night</button></p>
    </form>
    <${OriginsChoice} />
    <${Outcome} problems=${problems} isBusy=${isBusy} />
    ${answer !== null && !answer.workloads.length && html`<p>The cluster file has no <code>workloads</code>.</p>`}
    ${answer?.workloads.map((workload) => html`<${Workload} key=${workload.workload} forecast=${workload} query=${query} />`)}
  `;
}

/** @param {{forecast: WorkloadForecast, query: string}} properties */
function Workload({ forecast, query }) {
  const { workload, unit } = forecast;
  const rows = /** @type {const} */ ([
    ["In an hour", "per_hour"],
    ["In the night", "per_night"],
    ["Energy of the night", "energy"],
    [`Energy of one ${unit}`, "energy_each"],
    [`Cost of one ${unit}`, "cost_each"],
  ]);
  const known = rows.filter(([, name]) => forecast[name] !== null);
  return html`<section aria-label=${`Workload ${workload}`}>
    <h2>${workload}</h2>
    <p>On ${forecast.slots.join(", ") || "no slot"}, through queue ${forecast.queue}: ${forecast.where}.</p>
    ${known.length > 0 &&
    html`<${Table}
      label=${`Forecast of ${workload}`}
      columns=${["What", "How much"]}
      rows=${known.map(([label, name]) => [label, html`<${FigureView} figure=${forecast[name]} />`])}
    />
    <${Chart} workload=${workload} query=${query} />`}
    <ul>
      ${[...forecast.unknown, ...forecast.assumed].map((sentence) => html`<li key=${sentence} class="note">${sentence}</li>`)}
    </ul>
  </section>`;
}

/** The drawing that `corral forecast --gantt` writes. @param {{workload: string, query: string}} properties */
function Chart({ workload, query }) {
  const [address, setAddress] = useState("");
  useEffect(() => {
    const leaving = new AbortController();
    let made = "";
    drawNight(workload, query, leaving.signal)
      .then((drawn) => {
        made = drawn;
        setAddress(drawn);
      })
      .catch(() => {}); // the figures above are the same as text
    return () => {
      leaving.abort();
      URL.revokeObjectURL(made);
    };
  }, [workload, query]);
  return address && html`<img class="chart" src=${address} alt=${`The night of ${workload}, slot by slot`} />`;
}

/** @param {string} workload @param {string} query @param {AbortSignal} leaving @returns {Promise<string>} */
async function drawNight(workload, query, leaving) {
  const asked = new URLSearchParams(query);
  asked.set("workload", workload);
  const response = await send(new URL(`cluster/forecast/chart?${asked}`, ROOT), { signal: leaving });
  return URL.createObjectURL(await response.blob());
}
