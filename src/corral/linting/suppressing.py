"""Comments that accept a finding: `# corral: ignore A02 because the node has a spare card`.

On the finding's line or the line above it; `ignore-file` holds for the whole file. A reason is asked for: a comment
without one is named in the report and accepts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from corral.linting.values import Finding, Place, Unread

_COMMENT = re.compile(
    r"(?:#|//|<!--)\s*corral:\s*(?P<scope>ignore-file|ignore)\s+(?P<rules>[A-Z]\d{2}(?:\s*,\s*[A-Z]\d{2})*)"
    r"(?P<reason>[^\n]*?)(?:-->)?\s*$",
    re.MULTILINE,
)
_WHOLE_FILE = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """Reasons by file, line (0 for the whole file) and rule."""

    reasons: Mapping[tuple[str, int, str], str]
    unread: tuple[Unread, ...]
    """Comments without a reason."""

    def of(self, finding: Finding) -> str | None:
        """The reason to accept a finding; None when there is none."""
        file, line = finding.place.file, finding.place.line
        for where in (line, line - 1, _WHOLE_FILE):
            reason = self.reasons.get((file, where, finding.rule.id))
            if reason is not None:
                return reason
        return None


def accepted(sources: Mapping[str, str]) -> Accepted:
    """Read the comments of all files."""
    reasons: dict[tuple[str, int, str], str] = {}
    unread: list[Unread] = []
    for file, text in sources.items():
        for match in _COMMENT.finditer(text) if "corral:" in text else ():
            line = text.count("\n", 0, match.start()) + 1
            reason = match["reason"].strip(" \t-:").removeprefix("because").strip()
            if not reason:
                why = (
                    f"accepts {match['rules']} without a reason; write `# corral: ignore {match['rules']} because ...`"
                )
                unread.append(Unread(place=Place(file, line), why=why))
                continue
            where = _WHOLE_FILE if match["scope"] == "ignore-file" else line
            for rule in re.split(r"\s*,\s*", match["rules"]):
                reasons[file, where, rule] = reason
    return Accepted(reasons=reasons, unread=tuple(unread))
