"""A report for people: a finding, what happens in practice, and what to do, as errors of Corral are told."""

from __future__ import annotations

from collections.abc import Iterator

from corral.linting.values import Finding, Report, Rule


def plain(report: Report) -> Iterator[str]:
    """Yield the lines of a report; what stands twice (why, and what to do) is said once for each rule."""
    yield summary(report)
    told: set[str] = set()
    for one in report.findings:
        yield from _finding(one, told)
    for one in report.unread:
        yield f"{one.place}: not judged: {one.why}"


def summary(report: Report) -> str:
    """Say in one line what was found: `2 errors, 1 warning, 0 notes in 12 documents of 9 files`."""
    counts = ", ".join(_counted(number, severity.value) for severity, number in report.counts.items())
    accepted = f"; {len(report.suppressed)} accepted by comments" if report.suppressed else ""
    return f"{counts} in {_counted(report.documents, 'document')} of {_counted(report.files, 'file')}{accepted}"


def explain(rule: Rule) -> Iterator[str]:
    """Yield everything that is known about a rule."""
    yield f"{rule.id} {rule.name} ({rule.severity.value})"
    yield rule.summary
    for title, text in (("in practice", rule.practice), ("why", rule.source), ("fix", rule.fix)):
        yield f"{title}: {text}"


def _finding(one: Finding, told: set[str]) -> Iterator[str]:
    subject = f" [{one.subject}]" if one.subject else ""
    yield f"{one.place}: {one.weight.value}[{one.rule.id} {one.rule.name}]: {one.what}{subject}"
    if one.rule.id not in told:
        told.add(one.rule.id)
        yield f"  in practice: {one.rule.practice}"
        yield f"  why: {one.rule.source}"
        yield f"  fix: {one.rule.fix}"
    if one.edits:
        yield "  fixable: `--fix` shows the change, and asks"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
