"""The report of an upgrade, as Markdown, as one HTML page and as JSON: the same values, worded once.

Belongs here: wording and layout.
Does not belong here: finding anything out; the facts of a report are in `Upgrade`.
May import: the same as `corral.planning`, and markdown-it for the page.
"""

from corral.planning.upgrade.report.front_page import FrontPage, make_front_page
from corral.planning.upgrade.report.markdown import to_markdown
from corral.planning.upgrade.report.record import to_record

__all__ = ["FrontPage", "make_front_page", "to_markdown", "to_record"]
