"""What others have worked out about the cluster after an upgrade: a checklist wants what the report promises."""

from __future__ import annotations

from dataclasses import dataclass

from corral.planning.forecast import Forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The cluster after the upgrade; empty where nobody worked it out."""

    forecasts: tuple[Forecast, ...] = ()
    """Of each workload, by itself."""


NOTHING_KNOWN = Outlook()
