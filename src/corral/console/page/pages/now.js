// What runs, what waits, and what happens.

import { html } from "../html.js";
import { guests, isSeen, nodes } from "../stores/now.js";
import { DeviceView } from "../parts/device.js";
import { QueueView } from "../parts/queue.js";
import { LiveStory } from "../parts/story.js";

export function NowPage() {
  return html`
    <section aria-labelledby="machines">
      <h2 id="machines">Machines</h2>
      ${!isSeen.value && html`<p aria-busy="true">Loading</p>`}
      ${isSeen.value && nodes.value.length === 0 && html`<p>This server has no slots: no work can run here.</p>`}
      ${nodes.value.map(
        ([node, devices]) => html`<section key=${node} class="node" aria-label=${`Node ${node}`}>
          <h3 class="node-name">${node}</h3>
          <div class="devices">
            ${devices.map((device) => html`<${DeviceView} key=${device.id} device=${device} />`)}
          </div>
        </section>`,
      )}
    </section>
    <section aria-labelledby="queue">
      <h2 id="queue">Waiting</h2>
      <${QueueView} />
    </section>
    <${Guests} />
    <section aria-labelledby="story">
      <h2 id="story">What happens</h2>
      <${LiveStory} />
    </section>
  `;
}

/** Requests through the gateway that have a slot. */
function Guests() {
  const served = guests.value.filter((guest) => guest.slot !== null);
  if (!served.length) return null;
  return html`<section aria-labelledby="guests">
    <h2 id="guests">Requests that are answered</h2>
    <ul>
      ${served.map((guest) => html`<li key=${`${guest.owner} ${guest.asked_at}`}>${guest.label} of ${guest.owner}, on ${guest.slot}</li>`)}
    </ul>
  </section>`;
}
