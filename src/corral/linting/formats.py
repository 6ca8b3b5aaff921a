"""A report for people and for programs: text, JSON of a stable shape, SARIF 2.1.0, annotations of GitHub Actions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from corral.linting.values import Finding, Report, Rule, Severity

Json = dict[str, object]
_LEVELS: Mapping[Severity, str] = MappingProxyType(
    {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
)
_COMMANDS: Mapping[Severity, str] = MappingProxyType(
    {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
)
_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_sarif(report: Report, version: str) -> Json:
    """The report as SARIF 2.1.0 (OASIS), as code scanning services read it."""
    rules = {one.rule.id: one.rule for one in (*report.findings, *(each.finding for each in report.suppressed))}
    results = [_result(one) for one in report.findings]
    results += [
        {**_result(one.finding), "suppressions": [{"kind": "inSource", "justification": one.reason}]}
        for one in report.suppressed
    ]
    driver: Json = {
        "name": "corral lint",
        "version": version,
        "rules": [_sarif_rule(rules[key]) for key in sorted(rules)],
    }
    return {"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def as_github(report: Report) -> Iterator[str]:
    """Workflow commands of GitHub Actions, one for each finding."""
    for one in report.findings:
        place = f"file={_property(one.place.file)},line={one.place.line},col={one.place.column}"
        title = _property(f"{one.rule.id} {one.rule.name}")
        yield f"::{_COMMANDS[one.weight]} {place},title={title}::{_data(f'{one.what}. {one.rule.fix}')}"


def _sarif_rule(rule: Rule) -> Json:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.practice},
        "help": {"text": f"{rule.fix} Why: {rule.source}"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(one: Finding) -> Json:
    region: Json = {"startLine": one.place.line, "startColumn": one.place.column}
    location: Json = {"artifactLocation": {"uri": one.place.file.replace("\\", "/")}, "region": region}
    return {
        "ruleId": one.rule.id,
        "level": _LEVELS[one.weight],
        "message": {"text": one.what + (f" ({one.subject})" if one.subject else "")},
        "locations": [{"physicalLocation": location}],
    }


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


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
