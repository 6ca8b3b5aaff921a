"""Applies the edits of findings to the text of files; edits that overlap wait for the next run."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from corral.linting.values import Edit, Finding


def mended(sources: Mapping[str, str], findings: Iterable[Finding]) -> dict[str, str]:
    """The new text of every file that the findings' edits change; a finding is mended as a whole or not at all."""
    taken: dict[str, list[Edit]] = defaultdict(list)
    for finding in findings:
        if finding.edits and not any(_overlaps(edit, taken[edit.file]) for edit in finding.edits):
            for edit in finding.edits:
                if edit not in taken[edit.file]:
                    taken[edit.file].append(edit)
    return {file: _applied(sources[file], edits) for file, edits in taken.items() if edits}


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """A unified diff of the files that change."""
    for file, text in after.items():
        yield from difflib.unified_diff(
            before[file].splitlines(), text.splitlines(), fromfile=file, tofile=f"{file} (mended)", lineterm=""
        )


def _overlaps(edit: Edit, others: Iterable[Edit]) -> bool:
    return any(edit != other and edit.start < other.end and other.start < edit.end for other in others)


def _applied(text: str, edits: Iterable[Edit]) -> str:
    for edit in sorted(edits, key=lambda one: one.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text
