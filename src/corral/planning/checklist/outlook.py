"""What others have worked out about the cluster after an upgrade: a checklist wants what the report promises."""

from __future__ import annotations

from dataclasses import dataclass

from corral.planning.forecast import Forecast
from corral.planning.rendered import NOTHING_RENDERED, Rendered


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Empty where nobody worked it out."""

    forecasts: tuple[Forecast, ...] = ()
    """Of each workload by itself, after the upgrade."""
    before: Rendered = NOTHING_RENDERED
    after: Rendered = NOTHING_RENDERED


NOTHING_KNOWN = Outlook()
