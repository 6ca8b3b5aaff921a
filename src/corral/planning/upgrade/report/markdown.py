"""The whole report as Markdown (GitHub's tables)."""

from __future__ import annotations

from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.report.architecture import architecture
from corral.planning.upgrade.report.capabilities import capabilities
from corral.planning.upgrade.report.closing import beliefs, checklist, conclusion, unchanged
from corral.planning.upgrade.report.front_page import make_front_page, write_front_page
from corral.planning.upgrade.report.pieces import escaped
from corral.planning.upgrade.report.pipeline import pipeline
from corral.planning.upgrade.report.power import power
from corral.planning.upgrade.report.scheduling import scheduling
from corral.planning.upgrade.report.schema import schema
from corral.planning.upgrade.report.summary import summary

PARTS = (
    summary,
    power,
    scheduling,
    capabilities,
    architecture,
    schema,
    pipeline,
    unchanged,
    checklist,
    beliefs,
    conclusion,
)


def to_markdown(upgrade: Upgrade) -> str:
    """Write the report; it ends with a line end."""
    page = make_front_page(upgrade)
    lines = [f"# {escaped(page.title)}", "", *write_front_page(page)]
    for part in PARTS:
        lines += part(upgrade)
    return "\n".join(lines).rstrip() + "\n"
