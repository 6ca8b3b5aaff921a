// The frame of every page: the head with its links, the page itself, notices.

import { useEffect, useRef } from "preact/hooks";
import { html } from "../html.js";
import { dismiss, notices, perform } from "../notices.js";
import { AccessPage } from "../pages/access.js";
import { BatchPage } from "../pages/batch.js";
import { BatchesPage } from "../pages/batches.js";
import { ChatPage } from "../pages/chat.js";
import { ClusterPage } from "../pages/cluster.js";
import { GalleryPage } from "../pages/gallery.js";
import { LogInPage } from "../pages/log_in.js";
import { NowPage } from "../pages/now.js";
import { StudioPage } from "../pages/studio.js";
import { SubmitPage } from "../pages/submit.js";
import { TaskPage } from "../pages/task.js";
import { TasksPage } from "../pages/tasks.js";
import { UsagePage } from "../pages/usage.js";
import { route } from "../router.js";
import { canSubmit, isAdmin, isKnown, logOut, reason, session } from "../stores/session.js";
import { connection } from "../stores/stream.js";

/** Pages in the order of their links; one that is not allowed has none. */
const PAGES = [
  { path: "", title: "Now", view: NowPage, detail: null, isAllowed: null },
  { path: "tasks", title: "Tasks", view: TasksPage, detail: TaskPage, isAllowed: null },
  { path: "batches", title: "Batches", view: BatchesPage, detail: BatchPage, isAllowed: null },
  { path: "submit", title: "Submit", view: SubmitPage, detail: null, isAllowed: canSubmit },
  { path: "gallery", title: "Gallery", view: GalleryPage, detail: null, isAllowed: null },
  { path: "studio", title: "Studio", view: StudioPage, detail: null, isAllowed: null },
  { path: "chat", title: "Chat", view: ChatPage, detail: null, isAllowed: canSubmit },
  { path: "cluster", title: "Cluster", view: ClusterPage, detail: null, isAllowed: null },
  { path: "usage", title: "Usage", view: UsagePage, detail: null, isAllowed: null },
  { path: "access", title: "Access", view: AccessPage, detail: null, isAllowed: isAdmin },
];
const CONNECTION = { opening: "Connecting", live: "Live", lost: "Reconnecting" };

export function App() {
  if (session.value === null) {
    return html`<main class="plain" aria-busy="true"><h1>Corral</h1><p role="status">${reason.value || "Loading"}</p></main>`;
  }
  if (!isKnown.value) return html`<${LogInPage} />`;
  const [first = "", second] = route.value.steps;
  const page = PAGES.find((known) => known.path === first) ?? PAGES[0];
  const id = Number(second);
  const isDetail = page?.detail != null && Number.isSafeInteger(id) && id > 0;
  const View = isDetail ? page.detail : page?.view;
  const title = isDetail ? `${first === "tasks" ? "Task" : "Batch"} ${id}` : page?.title;
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <${Head} current=${page?.path} />
    <${Main} key=${`${first}/${second ?? ""}`} title=${title}><${View} id=${id} /><//>
    <${Notices} />
  `;
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** @param {{current: string | undefined}} properties */
function Head({ current }) {
  return html`
    <header class="head">
      <p class="name">${session.value?.cluster}</p>
      <nav aria-label="Pages">
        ${PAGES.filter((page) => page.isAllowed?.value ?? true).map(
          (page) =>
            html`<a href=${`#/${page.path}`} aria-current=${page.path === current ? "page" : null}>${page.title}</a>`,
        )}
      </nav>
      <p class=${`connection ${connection.value}`} role="status">${CONNECTION[connection.value]}</p>
      <p class="who">
        ${session.value?.owner} (${session.value?.role})
        ${session.value?.has_cookie && html`<button class="quiet" onClick=${() => perform(logOut, "")}>Log out</button>`}
      </p>
    </header>
  `;
}

/**
 * The content of a page; a reader that arrives by a link begins here.
 * @param {{title: string, children: unknown}} properties
 */
function Main({ title, children }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    document.title = `${title} - ${session.value?.cluster} - Corral`;
    if (document.activeElement !== document.body) place.current?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [title]);
  return html`<main id="main" ref=${place} tabindex="-1">
    <h1>${title}</h1>
    ${children}
  </main>`;
}

function Notices() {
  return html`<div class="notices" role="status">
    ${notices.value.map(
      (notice) => html`<p key=${notice.id} class=${notice.isError ? "bad" : "good"}>
        ${notice.text} <button class="quiet" aria-label="Dismiss" onClick=${() => dismiss(notice.id)}>×</button>
      </p>`,
    )}
  </div>`;
}
