"""Writes labels of nodes beside the labels that are like them, and those that a node is to lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from corral.cluster.document import Path
from corral.cluster.editing.editor import Editor

_LIKE = (("gpu-class", "gpu-classes"), ("gpu-count", "gpu-class", "gpu-classes"), ("homogeneous", "gpu-count"))
"""By the last part of a key: behind which others it belongs."""


def write_labels(editor: Editor, changes: Mapping[tuple[str, str], str | None]) -> None:
    """Set labels by node and key; None removes. A `gpu-classes` that gives way to `gpu-class` keeps its line."""
    places = {node["name"]: place for place, node in enumerate(editor.at(("nodes",)))}
    by_node: dict[str, dict[str, str | None]] = {}
    for (node, key), value in changes.items():
        by_node.setdefault(node, {})[key] = value
    for node, labels in by_node.items():
        _write(editor, ("nodes", places[node], "labels"), labels)


def write_removed_labels(editor: Editor, removals: Mapping[str, Sequence[str]]) -> None:
    """Set the labels that nodes are to lose, by node; none takes the key out."""
    for place, node in enumerate(editor.at(("nodes",))):
        at = ("nodes", place, "removedLabels")
        keys = removals.get(node["name"])
        if keys:
            editor.assign(at, list(keys), after="labels" if "labels" in node else None)
        elif keys is not None and editor.has(at):
            editor.remove(at)


def _write(editor: Editor, at: Path, changes: dict[str, str | None]) -> None:
    _rename_class(editor, at, changes)
    for key, value in changes.items():
        if value is not None:
            editor.assign((*at, key), value, after=_sibling(key, list(editor.at(at) or {})))
    for key, value in changes.items():
        if value is None and editor.has((*at, key)):
            editor.remove((*at, key))


def _rename_class(editor: Editor, at: Path, changes: Mapping[str, str | None]) -> None:
    for old, value in changes.items():
        prefix, slash, name = old.partition("/")
        new = prefix + slash + {"gpu-class": "gpu-classes", "gpu-classes": "gpu-class"}.get(name, "")
        if value is None and changes.get(new) is not None and editor.has((*at, old)):
            editor.rename((*at, old), new)


def _sibling(key: str, present: Sequence[str]) -> str | None:
    """Find the key behind which a new one belongs; None when there is none like it."""
    prefix, slash, name = key.partition("/")
    if name.startswith("has-"):
        return next((one for one in reversed(present) if one.startswith(f"{prefix}{slash}has-")), None)
    for own, *others in _LIKE:
        for other in others if own == name else ():
            if prefix + slash + other in present:
                return prefix + slash + other
    return None
