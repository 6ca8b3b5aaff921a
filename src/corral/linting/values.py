"""The input of the linter, its rules and its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """The severity of a finding."""

    ERROR = "error"
    """It does not run, or data or traffic is lost."""
    WARNING = "warning"
    """It works by luck, or degrades."""
    NOTE = "note"
    """Good to know."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where in a file; lines and columns count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one file that fixes a finding and changes nothing else."""

    file: str
    start: int
    """Offset of the first character that is replaced."""
    end: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A mistake that can be seen in files."""

    id: str
    """Stable: `A02`."""
    name: str
    """Stable: `gpu-rollout-deadlock`."""
    severity: Severity
    summary: str
    """One line: the mistake."""
    practice: str
    """The consequence."""
    source: str
    """The evidence: reproduced, documentation, source code, an issue with its number."""
    fix: str
    """The change that avoids it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake at one place."""

    rule: Rule
    place: Position
    what: str
    """The fact with the values seen, lower case, no final period."""
    subject: str = ""
    """The object: `Deployment ai-workloads/comfyui`; empty when there is none."""
    edits: tuple[Edit, ...] = ()
    """Safe changes that fix it; empty when a person must decide."""
    severity: Severity | None = None
    """When it differs from that of the rule."""

    @property
    def weight(self) -> Severity:
        """Its own severity, or that of its rule."""
        return self.severity or self.rule.severity


class Gap(StrEnum):
    """The reason why a part of the input is not judged, as programs distinguish them."""

    UNREADABLE = "unreadable"
    """It cannot be read."""
    UNJUDGED = "unjudged"
    """It is read as what it is, and no rule is for it."""
    COMMENT = "comment"
    """A comment that accepts nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A part of the input that is not judged, and the reason."""

    place: Position
    why: str
    gap: Gap = Gap.UNREADABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressed:
    """A finding that a comment in the file accepts, with its reason."""

    finding: Finding
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of one run, in order of place."""

    findings: tuple[Finding, ...]
    suppressed: tuple[Suppressed, ...] = ()
    unread: tuple[Unread, ...] = ()
    files: int = 0
    documents: int = 0

    @property
    def counts(self) -> Mapping[Severity, int]:
        """Findings by severity."""
        return {severity: sum(finding.weight is severity for finding in self.findings) for severity in Severity}

    @property
    def worst(self) -> Severity | None:
        """The severity of the worst finding; None when there is none."""
        return next((severity for severity, number in self.counts.items() if number), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file, as text."""

    name: str
    """Its path, as reported."""
    text: str
    unread: str = ""
    """The reason why it could not be read; empty when it was."""


STDIN = "stdin"
"""The name of what is read from the standard input: YAML, as `helm template` and `kustomize build` print it."""
