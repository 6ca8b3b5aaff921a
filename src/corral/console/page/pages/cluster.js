// The cluster as it is described: plan, power, models, forecast, what a change of hardware would bring, lint, doctor.

import { html } from "../html.js";
import { DoctorPart } from "../cluster/doctor.js";
import { FitPart } from "../cluster/fit.js";
import { ForecastPart } from "../cluster/forecast.js";
import { LintPart } from "../cluster/lint.js";
import { ModelsPart } from "../cluster/models.js";
import { PlanPart } from "../cluster/plan.js";
import { PowerPart } from "../cluster/power.js";
import { UpgradePart } from "../cluster/upgrade.js";
import { route } from "../router.js";
import { isAdmin } from "../stores/session.js";

const PARTS = [
  { path: "plan", title: "Plan", view: PlanPart, isForAdmins: false },
  { path: "power", title: "Power", view: PowerPart, isForAdmins: false },
  { path: "forecast", title: "Forecast", view: ForecastPart, isForAdmins: false },
  { path: "fit", title: "Fit", view: FitPart, isForAdmins: false },
  { path: "models", title: "Models", view: ModelsPart, isForAdmins: false },
  { path: "upgrade", title: "What if", view: UpgradePart, isForAdmins: true },
  { path: "lint", title: "Lint", view: LintPart, isForAdmins: false },
  { path: "doctor", title: "Doctor", view: DoctorPart, isForAdmins: true },
];

export function ClusterPage() {
  const allowed = PARTS.filter((part) => isAdmin.value || !part.isForAdmins);
  const current = allowed.find((part) => part.path === route.value.steps[1]) ?? allowed[0];
  if (current === undefined) return null;
  return html`
    <nav class="parts" aria-label="Parts of the cluster">
      ${allowed.map(
        ({ path, title }) =>
          html`<a key=${path} href=${`#/cluster/${path}`} aria-current=${path === current.path ? "page" : null}>${title}</a>`,
      )}
    </nav>
    <${current.view} key=${current.path} />
  `;
}
