"""Lints files against the rules, explains a rule, and makes the safe changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from corral.linting.values import STDIN, Finding, Gap, Report, Rule, Severity, Source
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.diffs import diff_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class LintAsked:
    """Files that are linted together."""

    files: tuple[FileText, ...]
    """Their names give their formats: `.yaml`, `.nix`, `.md`, `kustomization`."""
    cluster: FileText | None = None
    """The cluster file of the machines that the files are for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LintFinding:
    """One mistake at one place; lines and columns count from 1."""

    rule: str
    name: str
    severity: Severity
    file: str
    line: int
    column: int
    object: str | None
    """The Kubernetes object: `Deployment ai-workloads/comfyui`."""
    what: str
    practice: str
    """The consequence."""
    source: str
    """The evidence."""
    fix: str
    fixable: bool
    """Whether `corral lint --fix` changes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedFinding(LintFinding):
    """A finding that a comment in the file accepts."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadPart:
    """A part of the input that is not judged, and the reason."""

    file: str
    line: int
    column: int
    gap: Gap
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LintAnswer:
    """All findings, in order of place."""

    findings: tuple[LintFinding, ...]
    suppressed: tuple[AcceptedFinding, ...]
    unread: tuple[UnreadPart, ...]
    counts: Mapping[str, int]
    """Findings by severity."""
    files: int
    documents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixes:
    """The text of files before and after the safe changes; `after` has only the files that change."""

    before: Mapping[str, str]
    after: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LintRules:
    """Every rule."""

    items: tuple[Rule, ...]


def lint_files(asked: LintAsked) -> LintAnswer:
    """Lint the text of files. Raises: ClusterFileError."""
    sources = [Source(name=file.name, text=file.text) for file in asked.files]
    return answer_lint(lint_sources(sources, asked.cluster))


def lint_sources(sources: Iterable[Source], cluster: FileText | None) -> Report:
    """Lint files that were read. Raises: ClusterFileError."""
    from corral.linting.runner import lint  # it loads half a second of libraries; a server starts without

    return lint(tuple(sources), cluster=None if cluster is None else check_cluster(cluster).cluster)


def fix_sources(sources: Iterable[Source], report: Report) -> Fixes:
    """Make the changes of a report's findings; the standard input is left out, for it cannot be written back."""
    from corral.linting.runner import apply_fixes

    before = {source.name: source.text for source in sources if source.name != STDIN}
    after = apply_fixes(before, [finding for finding in report.findings if finding.place.file in before])
    return Fixes(before=before, after=after)


def diff_fixes(fixes: Fixes) -> Iterator[str]:
    """Return a unified diff of the files that change."""
    for file, text in fixes.after.items():
        yield from diff_texts(fixes.before[file], text, file, f"{file} (fixed)")


def list_rules() -> LintRules:
    """List every rule, in order of id."""
    from corral.linting.rules import CHECKS

    return LintRules(items=tuple(check.rule for check in CHECKS))


def show_rule(name: str) -> Rule:
    """Return the rule of an id or a name. Raises: UnknownRuleError."""
    from corral.linting.runner import find_rule

    return find_rule(name)


def answer_lint(report: Report) -> LintAnswer:
    """Return a report as doors return it to programs."""
    return LintAnswer(
        findings=tuple(LintFinding(**_collect_facts(finding)) for finding in report.findings),
        suppressed=tuple(
            AcceptedFinding(**_collect_facts(accepted.finding), reason=accepted.reason)
            for accepted in report.suppressed
        ),
        unread=tuple(
            UnreadPart(file=part.place.file, line=part.place.line, column=part.place.column, gap=part.gap, why=part.why)
            for part in report.unread
        ),
        counts={severity.value: number for severity, number in report.counts.items()},
        files=report.files,
        documents=report.documents,
    )


def _collect_facts(finding: Finding) -> dict[str, Any]:  # Any: keyword arguments of two classes that have these fields
    return {
        "rule": finding.rule.id,
        "name": finding.rule.name,
        "severity": finding.weight,
        "file": finding.place.file,
        "line": finding.place.line,
        "column": finding.place.column,
        "object": finding.subject or None,
        "what": finding.what,
        "practice": finding.rule.practice,
        "source": finding.rule.source,
        "fix": finding.rule.fix,
        "fixable": bool(finding.edits),
    }
