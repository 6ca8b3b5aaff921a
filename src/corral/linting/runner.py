"""Runs the rules over the input, sorts their findings, leaves out those that comments accept, and applies fixes.

A comment accepts a finding: `# corral: ignore A02 because the node has a spare GPU`, on the finding's line or the line
above it, or above a fenced block of a page (`<!-- corral: ... -->`) for all of it; `ignore-file` is for the whole file.
A comment without a reason is reported and accepts nothing.
"""

from __future__ import annotations

import gc
import re
from collections import defaultdict
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from corral.cluster.values import Cluster
from corral.errors import CorralError, Kind
from corral.linting.corpus import Corpus
from corral.linting.documents import is_page, read_blocks
from corral.linting.registry import Check
from corral.linting.rules import CHECKS
from corral.linting.values import Edit, Finding, Gap, Position, Report, Rule, Source, Suppressed, Unread


class UnknownRuleError(CorralError):
    """No rule has this id or name."""

    code: ClassVar[str] = "lint.unknown_rule"
    kind: ClassVar[Kind] = Kind.MISSING


def lint(sources: Iterable[Source], *, cluster: Cluster | None = None, checks: Collection[Check] = CHECKS) -> Report:
    """Lint files; `cluster` describes the hardware that they are for."""
    with _pause_collection():
        return _lint(sources, cluster, checks)


@contextmanager
def _pause_collection() -> Generator[None]:
    """Pause Python's cyclic garbage collector: everything that a run reads lives until its end, and the collector goes
    through all of it again and again (half of the time of 1,000 manifests, `python -m benchmarks.lint`)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _lint(sources: Iterable[Source], cluster: Cluster | None, checks: Collection[Check]) -> Report:
    corpora = _collect_corpora(sources, cluster)
    findings = sorted(_run_checks(corpora, checks), key=_make_sort_key)
    reasons = read_accepted_rules({name: text for corpus in corpora for name, text in corpus.sources.items()})
    unread = [part for corpus in corpora for part in (*corpus.unread, *corpus.unjudged)]
    kept: list[Finding] = []
    suppressed: list[Suppressed] = []
    for finding in findings:
        reason = reasons.find_reason(finding)
        if reason is None:
            kept.append(finding)
        else:
            suppressed.append(Suppressed(finding=finding, reason=reason))
    return Report(
        findings=tuple(kept),
        suppressed=tuple(suppressed),
        unread=tuple(sorted((*unread, *reasons.unread), key=lambda part: part.place)),
        files=sum(len(corpus.sources) for corpus in corpora),
        documents=sum(len(corpus.documents) for corpus in corpora),
    )


def _collect_corpora(sources: Iterable[Source], cluster: Cluster | None) -> list[Corpus]:
    """Collect the files together, and each page on its own: its examples are not deployed with the files."""
    files: list[Source] = []
    pages: list[Source] = []
    for source in sources:
        (pages if is_page(source.name) else files).append(source)
    return [Corpus(files, cluster), *(Corpus([page], cluster) for page in pages)]


def _run_checks(corpora: Iterable[Corpus], checks: Collection[Check]) -> Iterable[Finding]:
    """Run the rules over each deployment; a mistake of a shared base is one finding."""
    findings: dict[tuple[object, ...], Finding] = {}
    for corpus in corpora:
        for check in checks:
            for view in (corpus,) if check.of_files else corpus.views:
                for finding in check.run(view):
                    findings.setdefault(_make_sort_key(finding), finding)
    return findings.values()


def find_rule(text: str) -> Rule:
    """Find a rule by id or name. Raises: UnknownRuleError."""
    wanted = text.strip().lower()
    for check in CHECKS:
        if wanted in (check.rule.id.lower(), check.rule.name):
            return check.rule
    raise UnknownRuleError(f"there is no rule {text!r}", hint="`corral lint --rules` lists them")


def _make_sort_key(finding: Finding) -> tuple[object, ...]:
    return finding.place, finding.rule.id, finding.what


_COMMENT = re.compile(
    r"(?P<mark>#|//|<!--|/\*)[ \t]*corral:[ \t]*(?P<scope>ignore-file|ignore)[ \t]+"
    r"(?P<rules>[A-Z]\d{2}(?:[ \t]*,[ \t]*[A-Z]\d{2})*)(?P<reason>[^\r\n]*)"
)
_FENCE = re.compile(r" {0,3}(?:```|~~~)")
_WHOLE_FILE = 0


@dataclass(frozen=True, slots=True)
class AcceptedRules:
    """Reasons by file, line (0 for the whole file) and rule."""

    reasons: Mapping[tuple[str, int, str], str]
    unread: tuple[Unread, ...]
    """Comments without a reason."""

    def find_reason(self, finding: Finding) -> str | None:
        """Find the reason to accept a finding; None when there is none."""
        file, line = finding.place.file, finding.place.line
        for where in (line, line - 1, _WHOLE_FILE):
            reason = self.reasons.get((file, where, finding.rule.id))
            if reason is not None:
                return reason
        return None


def read_accepted_rules(sources: Mapping[str, str]) -> AcceptedRules:
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
                unread.append(Unread(place=Position(file, line), why=why, gap=Gap.COMMENT))
                continue
            where = _WHOLE_FILE if match["scope"] == "ignore-file" else line
            lines = (where, *_find_block_below(text, match.end(), line)) if match["mark"] == "<!--" else (where,)
            for rule in re.split(r"\s*,\s*", match["rules"]):
                reasons.update({(file, number, rule): reason for number in lines})
    return AcceptedRules(reasons=reasons, unread=tuple(unread))


def _find_block_below(text: str, end: int, line: int) -> range:
    """Find the lines of the fenced block right below a comment of a page; none when there is none."""
    start = text.find("\n", end) + 1
    block = next(read_blocks(text[start:]), None) if start and _FENCE.match(text, start) else None
    return range(line + 1, line + 2 + block.text.count("\n")) if block else range(0)


def apply_fixes(sources: Mapping[str, str], findings: Iterable[Finding]) -> dict[str, str]:
    """Return the new text of every file that the findings' edits change; a finding is fixed as a whole or not at all.

    Edits that overlap wait for the next run.
    """
    edits_by_file: dict[str, list[Edit]] = defaultdict(list)
    for finding in findings:
        if finding.edits and not any(_overlaps(edit, edits_by_file[edit.file]) for edit in finding.edits):
            for edit in finding.edits:
                if edit not in edits_by_file[edit.file]:
                    edits_by_file[edit.file].append(edit)
    return {file: _apply_edits(sources[file], edits) for file, edits in edits_by_file.items() if edits}


def _overlaps(edit: Edit, others: Iterable[Edit]) -> bool:
    return any(edit != other and edit.start < other.end and other.start < edit.end for other in others)


def _apply_edits(text: str, edits: Iterable[Edit]) -> str:
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text
