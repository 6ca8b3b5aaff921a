"""Comments that say something else than the value they stand at."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.corpus import Scene
from corral.linting.registry import Found, checks
from corral.linting.rules.gpu_selection import HOSTNAME
from corral.linting.tree import Tree

_COMMENT = re.compile(r"(?:^|\s)#(?P<words>.*)$")
_WORD = re.compile(r"[a-z0-9](?:[-.a-z0-9]*[a-z0-9])?")


@checks("E10")
def other_node_said(scene: Scene) -> Iterator[Found]:
    """Look for comments on the line of a host name that name other nodes of the cluster file, and not that one."""
    nodes = {node.name for node in (scene.cluster.nodes if scene.cluster else ())}
    for one in scene.objects if len(nodes) > 1 else ():
        for tree in _hosts(one.tree):
            said = set(_WORD.findall(_comment_at(scene, tree))) & nodes
            if tree.raw in nodes and said and tree.raw not in said:
                what = f"{tree.raw} here, {' and '.join(sorted(said))} in the comment"
                yield Found(place=tree.place, what=what, subject=one)


def _hosts(tree: Tree) -> Iterator[Tree]:
    """Every host name that an object is bound to: in a selector, or in an expression."""
    for path, value in tree.walk():
        if path[-1:] == (HOSTNAME,):
            yield value
        elif value.is_mapping and value["key"].raw == HOSTNAME:
            yield from value["values"].entries


def _comment_at(scene: Scene, tree: Tree) -> str:
    """The comment on the line of a value; empty when there is none."""
    lines = scene.lines_of(tree.file)
    number = tree.place.line
    match = _COMMENT.search(lines[number - 1]) if number <= len(lines) else None
    return match["words"].lower() if match else ""
