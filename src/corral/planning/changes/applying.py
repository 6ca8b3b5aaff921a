"""The cluster file after the changes, made from the one before; with the comments that no longer fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from corral.cluster import Cluster, load
from corral.cluster.editing.editor import Editor
from corral.cluster.editing.nodes import write_labels, write_removed_labels
from corral.cluster.editing.tree import list_comments
from corral.cluster.gpu_facts import FindGpu
from corral.errors import Problem
from corral.planning.changes.arrangement import arrange, map_moves
from corral.planning.changes.checking import Checker, LimitRanges
from corral.planning.changes.rewriting import follow, rewrite
from corral.planning.changes.values import Change, Changed, ChangesError, LimitPower, Note
from corral.planning.labels import LabelChange, list_label_changes, list_removed_labels


def apply_changes(
    text: str,
    changes: Iterable[Change],
    *,
    filename: str,
    find_gpu: FindGpu,
    limit_ranges: LimitRanges | None = None,
    before: Cluster | None = None,
) -> Changed:
    """Apply changes to the text of a cluster file; all of them, or none.

    `limit_ranges` has the power limits that GPUs take, as far as their drivers were asked (`corral inventory`).
    `before` is the cluster of the text, where it has been read already.

    Raises: ClusterFileError when the file itself is wrong, ChangesError with every problem of the changes,
    UneditableError when the file is written in a way that cannot be edited.
    """
    before = before or load(text, filename=filename, find_gpu=find_gpu)
    checker = Checker(before, changes, find_gpu, limit_ranges or {})
    wanted = checker.check()
    if checker.problems:
        raise ChangesError(checker.problems)
    editor = Editor(text, filename=filename)
    arrangement = arrange(before, wanted)
    moves = map_moves(before, arrangement)
    written = rewrite(editor, before, wanted, arrangement)
    more, problems = follow(editor, moves, wanted.where)
    if problems:
        raise ChangesError(problems)
    without_labels = editor.finish()
    after = load(without_labels, filename=filename, find_gpu=find_gpu)
    labels = _choose_labels(before, after)
    write_labels(editor, {(label.node, label.key): label.after for label in labels})
    write_removed_labels(editor, list_removed_labels(before, _apply_labels(after, labels)))
    new = editor.finish()
    if new != without_labels:
        after = load(new, filename=filename, find_gpu=find_gpu)
    notes = [Note(what=what, where=editor.locate(at)) for what, at in (*written, *more)]
    return Changed(
        text=new,
        cluster=after,
        before=before,
        notes=(*notes, *find_stale_comments(new, before, after, filename=filename)),
        labels=labels,
        moves=moves,
    )


def find_problems(changes: Iterable[Change], cluster: Cluster, find_gpu: FindGpu) -> tuple[Problem, ...]:
    """List what is wrong with changes of a cluster, together with others that could not be read; nothing is applied.

    What could not be read can bring a GPU or a node: requests of one that is not there yet are let be.
    """
    there = {node.name: {gpu.index for gpu in node.gpus or ()} for node in cluster.nodes}
    checker = Checker(cluster, (change for change in changes if not _may_come(change, there)), find_gpu, {})
    checker.check()
    return tuple(checker.problems)


def _may_come(change: Change, there: Mapping[str, set[int]]) -> bool:
    if not isinstance(change, LimitPower) or change.index is None:
        return False
    indexes = there.get(change.node, set[int]())
    return change.index > max(indexes, default=-1)


def _apply_labels(cluster: Cluster, changes: Iterable[LabelChange]) -> Cluster:
    """Give the nodes of a cluster the labels that their text gets."""
    labels = {node.name: dict(node.labels) for node in cluster.nodes}
    for change in changes:
        labels[change.node].pop(change.key, None)
        if change.after is not None:
            labels[change.node][change.key] = change.after
    return replace(cluster, nodes=tuple(replace(node, labels=labels[node.name]) for node in cluster.nodes))


def _choose_labels(before: Cluster, after: Cluster) -> tuple[LabelChange, ...]:
    nodes = {node.name: node for node in before.nodes}
    pairs = [(nodes[node.name], node) for node in after.nodes if node.name in nodes]
    return tuple(change for old, new in pairs if old.gpus != new.gpus for change in list_label_changes(old, new))


_MAKER_AND_FAMILY = re.compile(r"^(?:(?:nvidia|amd|intel|geforce|radeon|rtx|gtx|rx|arc)\s+)+", re.IGNORECASE)
_MEMORY = re.compile(r"\s*\b\d+\s*GB\b", re.IGNORECASE)
_VARIANTS = r"(?!\s*(?:ti|super|xt|xtx|laptop)\b)"
"""What makes another model of a name, when it stands right behind it."""


def find_stale_comments(text: str, before: Cluster, after: Cluster, *, filename: str) -> Iterator[Note]:
    """Find comments about models of which no GPU is left in the cluster."""
    gone = sorted(_list_models(before) - _list_models(after))
    patterns = {model: _make_pattern(model) for model in gone}
    for position, comment in list_comments(text) if gone else ():
        named = [model for model, pattern in patterns.items() if pattern.search(comment)]
        if named:
            what = f"the comment speaks of {' and '.join(named)}, of which none is left; see whether it still holds"
            yield Note(what=what, where=f"{filename}:{position.line}:{position.column}")


def _list_models(cluster: Cluster) -> set[str]:
    return {gpu.model for node in cluster.nodes for gpu in node.gpus or () if gpu.model}


def _make_pattern(model: str) -> re.Pattern[str]:
    words = _MEMORY.sub("", _MAKER_AND_FAMILY.sub("", model)).split()
    name = r"[\s-]*".join(re.escape(word) for word in words)
    return re.compile(rf"(?<![0-9A-Za-z]){name}(?![0-9A-Za-z]){_VARIANTS}", re.IGNORECASE)
