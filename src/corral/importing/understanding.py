"""Keeps account of the values that were understood, so that every other value of the input is listed with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.cluster.secrecy import is_secret
from corral.importing.values import Gap
from corral.linting.tree import Tree
from corral.linting.values import Position

_SHOWN = 60
"""Characters of a value in a gap."""


class Account:
    """The values that were understood, and remarks about those that were understood in part."""

    def __init__(self) -> None:
        self._understood: set[int] = set()
        self._kept: list[Tree] = []  # an identity holds as long as its value does
        self.gaps: list[Gap] = []

    def take(self, *trees: Tree) -> None:
        """Note that values are understood, with all that is below them."""
        self._understood |= {tree.identity for tree in trees if tree}
        self._kept += trees

    def take_fields(self, tree: Tree, *names: str) -> None:
        """Note that some fields of a mapping are understood; others that it has stay to be listed."""
        self.take(*(tree[name] for name in names))

    def read(self, tree: Tree) -> str | None:
        """Take a scalar, and return it as written; None for a missing one, and for a template, which is not taken."""
        text = tree.script
        if text is None or "${" in text:
            return None
        self.take(tree)
        return text

    def remark(self, place: Position, what: str) -> None:
        """Note a part that the cluster file does not have, for a reason."""
        self.gaps.append(Gap(place, what))

    def list_rest(self, tree: Tree, subject: str) -> None:
        """Note every value below that was not understood: of a branch without any that was, the branch alone."""
        _, gaps = self._look(tree, subject, "")
        self.gaps += gaps

    def _look(self, tree: Tree, subject: str, path: str) -> tuple[bool, list[Gap]]:
        if tree.identity in self._understood:
            return True, []
        below = list(_list_below(tree))
        if not below and (tree.is_mapping or tree.is_list or tree.kind in ("null", "")):
            return True, []  # empty: the same as a field that is left out
        looks = [self._look(child, subject, f"{path}{step}") for step, child in below]
        if any(understood for understood, _ in looks):
            return True, [gap for _, gaps in looks for gap in gaps]
        if len(looks) == 1:
            return False, looks[0][1]
        return False, [Gap(tree.key or tree.place, _describe(tree, subject, path))]


def _list_below(tree: Tree) -> Iterator[tuple[str, Tree]]:
    if tree.is_mapping:
        for name, child in tree.items:
            yield f".{name}", child
    for number, child in enumerate(tree.entries):
        yield f"[{child['name'].raw or number}]", child


def _describe(tree: Tree, subject: str, path: str) -> str:
    value = tree.script
    if value is not None and _holds_secret(path, value):
        value = None  # a report never shows one
    shown = "" if value is None else f": {value[:_SHOWN].splitlines()[0] if value else value!r}"
    return f"{subject} {path.lstrip('.')}{shown}".rstrip()


def _holds_secret(path: str, value: str) -> bool:
    """Whether a value is a secret by its field, or is a flag with one: `--api-key=...`."""
    flag, _, given = value.partition("=")
    return any(is_secret(re.sub(r"\W+", "_", name), text) for name, text in ((path, value), (flag, given)))
