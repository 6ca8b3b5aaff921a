"""The report as plain values for programs."""

from __future__ import annotations

from corral.planning.upgrade.comparing import Upgrade
from corral.work import Json


def to_record(upgrade: Upgrade) -> Json:
    """Make the record."""
    return {}
