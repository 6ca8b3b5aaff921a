"""Compares a cluster file with what it becomes: applies the changes, plans and simulates both, and compares."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.cluster.values import Cluster
from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.files import write_whole
from corral.hardware.catalogue import find_gpu
from corral.hardware.needs import needs_of
from corral.operations.cluster_file import (
    ClusterText,
    FileText,
    check_cluster,
    read_bounded,
    read_cluster,
    report_too_large,
)
from corral.operations.diffs import diff_texts
from corral.operations.placing import find_places
from corral.planning.changes import (
    Change,
    Changed,
    ChangesError,
    apply_changes,
    find_problems,
    parse_file,
    parse_options,
)
from corral.planning.checklist import Checklist, Outlook, make_checklist
from corral.planning.placement.planner import plan_layout
from corral.planning.placement.values import Plan
from corral.planning.upgrade import Findings, Upgrade, adapt, compare, compare_hardware, propose
from corral.planning.upgrade.report import to_markdown, to_record
from corral.planning.upgrade.throughput import Situated, compare_throughput
from corral.rendering.configuration import Configuration, render_configuration
from corral.work import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrading:
    """A cluster file, what it becomes, and the comparison."""

    before: ClusterText
    after: ClusterText
    """With the proposals when they were asked for."""
    upgrade: Upgrade


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeAsked:
    """A change of hardware, in the words of the command line."""

    word: str
    """`replace`, `add`, `remove`, `move`, `add-node`, `limit`, `psu` or `memory`."""
    value: str
    """The value of the option of that name: `node/gpu1=RTX 5070 Ti`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeAsked:
    """A cluster file, and what it is compared with: itself after some changes, or another file."""

    cluster: FileText
    changes: tuple[ChangeAsked, ...] = ()
    changes_file: FileText | None = None
    """A YAML list of changes with the same words."""
    to: FileText | None = None
    """Another cluster file, in place of changes."""
    adapt: bool = False
    """Whether the proposals (queues, replicas) are written into the new cluster file."""
    files: bool = False
    """Whether the answer shows how each rendered file changes."""


class UnclearUpgradeError(CorralError):
    """The other side of the comparison is missing, or given twice."""

    code: ClassVar[str] = "upgrade.unclear"
    kind: ClassVar[Kind] = Kind.INVALID


class UnreadableChangesError(CorralError):
    """The changes file cannot be opened."""

    code: ClassVar[str] = "changes.unreadable"
    kind: ClassVar[Kind] = Kind.MISSING


class OutputExistsError(ProblemsError):
    """Files that would be written are there already."""

    code: ClassVar[str] = "upgrade.exists"
    kind: ClassVar[Kind] = Kind.CONFLICT


class UnwritableOutputError(CorralError):
    """A file cannot be written."""

    code: ClassVar[str] = "upgrade.unwritable"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


def compare_upgrade(asked: UpgradeAsked) -> Upgrading:
    """Compare a cluster file with what it will become.

    Raises: UnclearUpgradeError, ClusterFileError, ChangesError with every problem of the changes, UneditableError.
    """
    if asked.to is not None:
        if asked.changes or asked.changes_file:
            raise UnclearUpgradeError("`--to` and changes were both given", hint="give either another file or changes")
        return _compare(check_cluster(asked.cluster), check_cluster(asked.to), None, asked)
    try:
        changes = _read_changes(asked)
    except ChangesError as error:  # what is wrong with the others is reported in the same answer
        known = check_cluster(asked.cluster).cluster
        raise ChangesError([*error.problems, *find_problems(error.readable, known, find_gpu)]) from error
    if not changes:
        raise UnclearUpgradeError(
            "no change was asked for", hint='add one, such as `--replace node/gpu1="RTX 5070 Ti"`'
        )
    return apply_upgrade(check_cluster(asked.cluster), changes, asked)


def apply_upgrade(before: ClusterText, changes: Sequence[Change], asked: UpgradeAsked) -> Upgrading:
    """Compare a cluster file with itself after some changes; of `asked`, only `adapt` and `files` count.

    Raises: ChangesError with every problem of the changes, UneditableError.
    """
    changed = apply_changes(before.text, changes, filename=before.name, find_gpu=find_gpu, before=before.cluster)
    after = ClusterText(name=before.name, text=changed.text, cluster=changed.cluster)
    return _compare(before, after, changed, asked)


def list_items(done: Upgrading) -> Checklist:
    """List what it takes to carry out what the new file says; with the proposals only when they are in it."""
    if done.after.cluster == done.upgrade.adapted:
        return done.upgrade.checklist
    forecasts = (side.alone for side in done.upgrade.findings.throughput)
    outlook = Outlook(
        forecasts=tuple(side for side in forecasts if side is not None),
        before=done.upgrade.findings.rendered_before,
        after=_render(done.after, done.after),
    )
    return make_checklist(done.before.cluster, done.after.cluster, outlook)


def record_upgrade(done: Upgrading) -> Json:
    """Return the comparison as doors show it to programs: every section of the report, every figure with its origin."""
    return to_record(done.upgrade)


def write_texts(done: Upgrading, kinds: Collection[str]) -> dict[str, str]:
    """Write the outputs of some kinds: `markdown`, `html`, `record` (JSON) and `cluster` (the new file)."""
    writers: dict[str, Callable[[], str]] = {
        "markdown": lambda: to_markdown(done.upgrade),
        "html": lambda: _write_page(done.upgrade),
        "record": lambda: json.dumps(to_record(done.upgrade), indent=2, ensure_ascii=False) + "\n",
        "cluster": lambda: done.after.text,
    }
    return {kind: writers[kind]() for kind in kinds}


def _write_page(upgrade: Upgrade) -> str:
    from corral.planning.upgrade.report.page import to_page  # here: its charts take a quarter of a second to load

    return to_page(upgrade)


def write_outputs(texts: Mapping[Path, str], *, overwriting: bool) -> None:
    """Write all files, or none when one is there and must not be overwritten.

    Raises: OutputExistsError with every file that is there, UnwritableOutputError.
    """
    there = [path for path in texts if path.exists() and not overwriting]
    if there:
        hint = "choose another name, or add `--yes` to overwrite it"
        raise OutputExistsError(
            [Problem(code=OutputExistsError.code, what="the file exists", where=str(path), hint=hint) for path in there]
        )
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text)
        except OSError as error:
            raise UnwritableOutputError(
                f"cannot write: {error.strerror or error}", where=str(path), hint="name a place that you can write to"
            ) from error


def _read_changes(asked: UpgradeAsked) -> tuple[Change, ...]:
    """Read the changes of both kinds; the problems of both are reported at once."""
    changes: list[Change] = []
    problems: list[Problem] = []
    options = [(change.word, change.value) for change in asked.changes]
    readers: list[Callable[[], tuple[Change, ...]]] = [lambda: parse_options(options)]
    file = asked.changes_file
    if file is not None:
        readers.append(lambda: parse_file(file.text, filename=file.name))
    for read in readers:
        try:
            changes += read()
        except ChangesError as error:
            problems += error.problems
            changes += error.readable
    if problems:
        raise ChangesError(problems, readable=changes)
    return tuple(changes)


def read_changes_file(path: Path) -> FileText:
    """Read a changes file unchecked. Raises: UnreadableChangesError, ChangesError for one that is not usable text."""
    try:
        data = read_bounded(path)
        text = None if data is None else data.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"the changes file is not UTF-8 text: byte {error.start + 1} is {error.object[error.start]:#04x}"
        problem = Problem(code="changes.not_text", what=what, where=str(path), hint="save it as UTF-8")
        raise ChangesError([problem]) from error
    except OSError as error:
        raise UnreadableChangesError(
            f"cannot read the changes file: {error.strerror or error}", where=str(path), hint="check its path"
        ) from error
    if text is None:
        raise ChangesError([report_too_large("changes.too_large", path)])
    return FileText(text=text, name=str(path))


def _compare(before: ClusterText, after: ClusterText, changed: Changed | None, asked: UpgradeAsked) -> Upgrading:
    adapted = _adapt(before, after)
    sides = [Situated(side.cluster, _plan_layouts(side.cluster)) for side in (before, after)]
    sides.append(sides[1] if adapted is after else Situated(adapted.cluster, _plan_layouts(adapted.cluster)))
    written = [_render(side, after) for side in (before, adapted)]
    if asked.adapt:
        after = adapted
    findings = Findings(
        plans_before=sides[0].plans,
        plans_after=sides[2].plans,
        throughput=compare_throughput(*sides),
        cluster_diff=_diff_clusters(before, after),
        proposal_diff=_diff_clusters(after, adapted, ("without the proposals", "with them, by --adapt")),
        file_diffs=_diff_every(before, adapted) if asked.files else _diff_files(*(side.files for side in written)),
        every_file=asked.files,
        rendered_before=written[0],
        rendered_after=written[1],
        moves=changed.moves if changed else None,
        notes=changed.notes if changed else (),
    )
    upgrade = compare(before.cluster, after.cluster, adapted.cluster, findings)
    return Upgrading(before=before, after=after, upgrade=upgrade)


def _adapt(before: ClusterText, after: ClusterText) -> ClusterText:
    """Write what should follow from the new GPUs into the new file."""
    proposals = propose(after.cluster, compare_hardware(before.cluster, after.cluster))
    if not any(proposal.edits for proposal in proposals):
        return after
    return read_cluster(adapt(after.text, proposals, filename=after.name), name=after.name)


def _plan_layouts(cluster: Cluster) -> tuple[Plan, ...]:
    layouts = list(cluster.layouts.values()) or [None]
    return tuple(plan_layout(cluster, layout, needs_of(cluster, layout)) for layout in layouts)


def _render(file: ClusterText, named: ClusterText) -> Configuration:
    # Name and text are in each file's header: of two that are compared they are the same.
    return render_configuration(file.cluster, source=named.name, text=named.text, find_places=find_places)


def _diff_every(before: ClusterText, after: ClusterText) -> dict[str, str]:
    """Render both clusters and compare file by file. Raises: CorralError where one cannot be rendered."""
    from corral.rendering.targets import render_cluster  # it loads half a second of libraries; a server starts without

    sides = (
        render_cluster(side.cluster, source=after.name, text=after.text, find_places=find_places)
        for side in (before, after)
    )
    return _diff_files(*(side.files for side in sides))


def _diff_files(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    paths = sorted({*old, *new})
    diffs = {path: _diff(old.get(path, ""), new.get(path, ""), path) for path in paths}
    return {path: diff for path, diff in diffs.items() if diff}


def _diff_clusters(before: ClusterText, after: ClusterText, states: tuple[str, str] = ("before", "after")) -> str:
    return _diff(before.text, after.text, Path(before.name).name, states)


def _diff(before: str, after: str, file: str, states: tuple[str, str] = ("before", "after")) -> str:
    return "\n".join(diff_texts(before, after, *(f"{file} ({state})" for state in states)))
