"""Comments that accept a finding: `# corral: ignore A02 because the node has a spare card`.

On the finding's line or the line above it, or above a fenced block of a page (`<!-- corral: ... -->`) for all of it;
`ignore-file` holds for the whole file. A reason is asked for: a comment
without one is named in the report and accepts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from corral.linting.reading.markdown import blocks
from corral.linting.values import Finding, Place, Unread

_COMMENT = re.compile(
    r"(?P<mark>#|//|<!--|/\*)[ \t]*corral:[ \t]*(?P<scope>ignore-file|ignore)[ \t]+"
    r"(?P<rules>[A-Z]\d{2}(?:[ \t]*,[ \t]*[A-Z]\d{2})*)(?P<reason>[^\r\n]*)"
)
_FENCE = re.compile(r" {0,3}(?:```|~~~)")
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
            reason = re.sub(r"(?:-->|\*/).*", "", match["reason"]).strip(" \t-:").removeprefix("because").strip()
            if not reason:
                why = (
                    f"accepts {match['rules']} without a reason; write `# corral: ignore {match['rules']} because ...`"
                )
                unread.append(Unread(place=Place(file, line), why=why))
                continue
            where = _WHOLE_FILE if match["scope"] == "ignore-file" else line
            lines = (where, *_block_below(text, match.end(), line)) if match["mark"] == "<!--" else (where,)
            for rule in re.split(r"\s*,\s*", match["rules"]):
                reasons.update({(file, each, rule): reason for each in lines})
    return Accepted(reasons=reasons, unread=tuple(unread))


def _block_below(text: str, end: int, line: int) -> range:
    """The lines of the fenced block that begins on the line below a comment of a page; none when none does."""
    start = text.find("\n", end) + 1
    block = next(blocks(text[start:]), None) if start and _FENCE.match(text, start) else None
    return range(line + 1, line + 2 + block.text.count("\n")) if block else range(0)
