"""Finds and reads the files of a lint, runs it, and writes back its fixes."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.files import replace_text
from corral.linting.kustomizing import NAMES, list_files, normalize_path
from corral.linting.values import STDIN, Finding, Report, Rule, Severity, Source
from corral.operations.cluster_file import FileText, check_cluster

SUFFIXES = frozenset({".yaml", ".yml", ".nix", ".md", ".markdown"})
"""Looked for in folders; a file that is named is read whatever its suffix."""
_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})
"""Folders of other projects' files; folders whose name starts with a dot are left out too."""
LARGEST_FILE = 64 * 2**20
"""Bytes; a larger file is reported without being read."""
_DASH = Path("-")


class NothingToLintError(CorralError):
    """The paths have no file that can be linted."""

    code: ClassVar[str] = "lint.nothing"
    kind: ClassVar[Kind] = Kind.MISSING


def find_sources(paths: Iterable[Path]) -> tuple[Source, ...]:
    """Read files and folders, each file once, in order of name; and the files that kustomizations among them list.

    A file that cannot be read is a source with the reason. `-` is the standard input.
    Raises: ProblemsError with every missing path, NothingToLintError.
    """
    paths = tuple(paths)
    problems = [
        Problem(code="lint.no_file", what="there is no such file or folder", where=str(path))
        for path in paths
        if path != _DASH and not _is_there(path)
    ]
    if problems:
        raise ProblemsError(problems)
    sources: dict[str, Source] = {}
    for path in paths:
        if path == _DASH:
            sources[STDIN] = _decode(STDIN, sys.stdin.buffer.read(LARGEST_FILE + 1))
            continue
        unreadable: list[OSError] = []
        for file in _find_files(path, unreadable.append):
            sources.setdefault(normalize_path(str(file)), _read(file))
        for error in unreadable:
            sources.setdefault(normalize_path(str(error.filename)), _make_unread(str(error.filename), error))
    if not sources:
        named = ", ".join(str(path) for path in paths)
        wanted = ", ".join(sorted(SUFFIXES))
        raise NothingToLintError(f"nothing to lint in {named}", hint=f"name a file, or a folder with {wanted}")
    _follow(sources)
    return tuple(sources.values())


def _follow(sources: dict[str, Source]) -> None:
    """Add the files that kustomizations list: an overlay is linted with its base, wherever that is."""
    waiting = list(sources.values())
    while waiting:
        for entry in list_files(waiting.pop()):
            path = Path(entry)
            files = _find_kustomization(path) if _is(path, stat.S_ISDIR) else [path] if _is(path, stat.S_ISREG) else []
            for file in files:
                if normalize_path(str(file)) not in sources:
                    source = sources[normalize_path(str(file))] = _read(file)
                    waiting.append(source)


def _find_kustomization(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(NAMES) if _is(folder / name, stat.S_ISREG)]


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    """Return whether a path is of a kind; False when that cannot be read."""
    try:
        return kind(path.stat().st_mode)
    except (OSError, ValueError):  # the latter for a name with a zero character
        return False


def _is_there(path: Path) -> bool:
    """Return whether a path exists: also a broken link, and a path without permission."""
    try:
        path.lstat()
    except (OSError, ValueError) as error:
        return isinstance(error, PermissionError)
    return True


def write_fixed(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Replace each file with its new text. Raises: ChangedMeanwhileError, UnwritableFileError."""
    for file, text in after.items():
        replace_text(Path(file), before=before[file], after=text)


def _find_files(path: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    if not _is(path, stat.S_ISDIR):
        yield path
        return
    for folder, below, names in os.walk(path, onerror=on_error):
        below[:] = sorted(
            folder_name for folder_name in below if folder_name not in _SKIPPED and not folder_name.startswith(".")
        )
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES or name in NAMES:
                yield Path(folder) / name


def _read(file: Path) -> Source:
    """Read a file as a source; one that is not a regular file, too large, or not text has the reason."""
    try:
        facts = file.stat()
        if not stat.S_ISREG(facts.st_mode):
            return Source(name=str(file), text="", unread="not a regular file")
        if facts.st_size > LARGEST_FILE:
            why = f"{facts.st_size:,} bytes; up to {LARGEST_FILE:,} are read"
            return Source(name=str(file), text="", unread=why)
        return _decode(str(file), file.read_bytes())
    except OSError as error:
        return _make_unread(str(file), error)


def _make_unread(name: str, error: OSError) -> Source:
    return Source(name=name, text="", unread=f"cannot be read: {error.strerror or error}")


def _decode(name: str, content: bytes) -> Source:
    """Decode text with its line ends, so that an edit changes nothing else."""
    if len(content) > LARGEST_FILE:
        return Source(name=name, text="", unread=f"more than {LARGEST_FILE:,} bytes")
    if b"\0" in content:
        return Source(name=name, text="", unread="not text: it has a zero byte")
    try:
        return Source(name=name, text=content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Source(name=name, text="", unread=f"not UTF-8: byte {content[error.start]:#04x} in line {line}")


# --- the use case ----------------------------------------------------------------------------------------------------


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
    """A part of the input that could not be linted, and the reason."""

    file: str
    line: int
    column: int
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
            UnreadPart(file=part.place.file, line=part.place.line, column=part.place.column, why=part.why)
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
