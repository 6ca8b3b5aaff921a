"""Finds what a file names, and sets keys of it: of nodes, services, volumes, queues, workloads, placements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from corral.cluster.document import Path
from corral.cluster.editing.editor import Editor
from corral.cluster.editing.spelling import Plain

Section = Literal["nodes", "services", "storage", "queues", "workloads"]
"""Lists of the file whose entries have names."""


def path_of(editor: Editor, section: Section, name: str) -> Path | None:
    """Return the path of the entry with this name; None when there is none."""
    for path in editor.inside((section,)):
        if editor.at((*path, "name")) == name:
            return path
    return None


def placement(layout: str, service: str) -> Path:
    """Return the path of a service's placement in a layout."""
    return ("layouts", layout, "services", service)


def set_keys(editor: Editor, path: Path, keys: Mapping[str, Plain]) -> None:
    """Set keys of the mapping at a path, in this order; None takes a key out."""
    for key, value in keys.items():
        if value is not None:
            editor.assign((*path, key), value)
        elif editor.has((*path, key)):
            editor.remove((*path, key))
