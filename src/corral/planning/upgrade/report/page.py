"""The report as one HTML page that needs nothing else: no script, no address, charts inside, readable on paper."""

from __future__ import annotations

from corral.planning.upgrade.comparing import Upgrade


def to_page(upgrade: Upgrade) -> str:
    """Write the page."""
    return ""
