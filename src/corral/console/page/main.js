// Starts the page.

import { effect } from "@preact/signals";
import { render } from "preact";
import { App } from "./parts/app.js";
import { html } from "./html.js";
import { isKnown, openSession } from "./stores/session.js";
import { closeStream, openStream } from "./stores/stream.js";

const place = document.getElementById("console");
if (place === null) throw new Error("the page has no place for the console");
render(html`<${App} />`, place);
effect(() => {
  if (isKnown.value) void openStream();
  else closeStream();
});
void openSession();
