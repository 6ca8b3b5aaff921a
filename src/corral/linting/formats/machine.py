"""A report for programs: SARIF 2.1.0, and the annotations of GitHub Actions."""

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
