"""A report for people and for programs: text, JSON of a stable shape, SARIF 2.1.0, annotations of GitHub Actions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from corral.linting.values import Finding, Gap, Report, Rule, Severity

Json = dict[str, object]
_LEVELS: Mapping[Severity, str] = MappingProxyType(
    {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
)
_COMMANDS: Mapping[Severity, str] = MappingProxyType(
    {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
)
_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render_sarif(report: Report, version: str) -> Json:
    """Render a report as SARIF 2.1.0 (OASIS), for code scanning services."""
    rules = {
        finding.rule.id: finding.rule
        for finding in (*report.findings, *(accepted.finding for accepted in report.suppressed))
    }
    results = [_render_sarif_result(finding) for finding in report.findings]
    results += [
        {
            **_render_sarif_result(accepted.finding),
            "suppressions": [{"kind": "inSource", "justification": accepted.reason}],
        }
        for accepted in report.suppressed
    ]
    driver: Json = {
        "name": "corral lint",
        "version": version,
        "rules": [_render_sarif_rule(rules[key]) for key in sorted(rules)],
    }
    return {"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def render_annotations(report: Report) -> Iterator[str]:
    """Render a report as workflow commands of GitHub Actions, one for each finding and each part that is unreadable."""
    for finding in report.findings:
        place = f"file={_escape_property(finding.place.file)},line={finding.place.line},col={finding.place.column}"
        title = _escape_property(f"{finding.rule.id} {finding.rule.name}")
        message = _escape_data(f"{finding.what}. {finding.rule.fix}")
        yield f"::{_COMMANDS[finding.weight]} {place},title={title}::{message}"
    for part in report.unread:
        if part.gap is Gap.UNREADABLE:
            place = f"file={_escape_property(part.place.file)},line={part.place.line},col={part.place.column}"
            yield f"::warning {place},title=not linted::{_escape_data(part.why)}"


def _render_sarif_rule(rule: Rule) -> Json:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.practice},
        "help": {"text": f"{rule.fix} Why: {rule.source}"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _render_sarif_result(finding: Finding) -> Json:
    region: Json = {"startLine": finding.place.line, "startColumn": finding.place.column}
    location: Json = {"artifactLocation": {"uri": finding.place.file.replace("\\", "/")}, "region": region}
    return {
        "ruleId": finding.rule.id,
        "level": _LEVELS[finding.weight],
        "message": {"text": finding.what + (f" ({finding.subject})" if finding.subject else "")},
        "locations": [{"physicalLocation": location}],
    }


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


def render_text(report: Report) -> Iterator[str]:
    """Yield the lines of a whole report; the texts of a rule come with its first finding."""
    yield summarize(report)
    explained: set[str] = set()
    for finding in report.findings:
        yield from _render_finding(finding, explained)
    yield from render_unread(report)


def render_unread(report: Report) -> Iterator[str]:
    """Yield the parts that are not judged, a line for each."""
    for part in report.unread:
        word = "not judged" if part.gap is Gap.UNJUDGED else "not linted"
        yield f"{part.place}: {word}: {part.why}"


def render_place(finding: Finding) -> str:
    """Render the place of a finding and its fact: `a.yaml:3:5: has no limit [Deployment ai/comfyui]`."""
    subject = f" [{finding.subject}]" if finding.subject else ""
    return f"{finding.place}: {finding.what}{subject}"


def group_findings(report: Report) -> list[list[Finding]]:
    """Group the findings by severity and rule: errors first, and rules with the most findings first."""
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in report.findings:
        groups.setdefault((finding.weight, finding.rule.id), []).append(finding)
    severities = list(Severity)
    return sorted(groups.values(), key=lambda group: (severities.index(group[0].weight), -len(group), group[0].rule.id))


def summarize(report: Report) -> str:
    """Summarize a report in one line: `2 errors, 1 warning, 0 notes in 12 documents of 9 files`."""
    counts = ", ".join(_count(number, severity.value) for severity, number in report.counts.items())
    accepted = f"; {len(report.suppressed)} accepted by comments" if report.suppressed else ""
    return f"{counts} in {_count(report.documents, 'document')} of {_count(report.files, 'file')}{accepted}"


def explain(rule: Rule) -> Iterator[str]:
    """Yield all texts of a rule."""
    yield f"{rule.id} {rule.name} ({rule.severity.value})"
    yield rule.summary
    for title, text in (("in practice", rule.practice), ("why", rule.source), ("fix", rule.fix)):
        yield f"{title}: {text}"


def _render_finding(finding: Finding, explained: set[str]) -> Iterator[str]:
    subject = f" [{finding.subject}]" if finding.subject else ""
    yield f"{finding.place}: {finding.weight.value}[{finding.rule.id} {finding.rule.name}]: {finding.what}{subject}"
    if finding.rule.id not in explained:
        explained.add(finding.rule.id)
        yield f"  in practice: {finding.rule.practice}"
        yield f"  why: {finding.rule.source}"
        yield f"  fix: {finding.rule.fix}"
    if finding.edits:
        yield "  fixable: `--fix` shows the change, and asks"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
