"""A value in a YAML document with its place; reading never fails, what is not there or of another kind is empty.

Built over the nodes of PyYAML's composer (libyaml), which keeps marks and the order of keys, also of those that stand
twice. Scalars keep their YAML 1.1 meaning, as Kubernetes reads them. A scalar that a template engine has yet to fill
(`{{ ... }}`, `${...}`) has no value: rules cannot judge it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, cast

import yaml

from corral.linting.values import Edit, Place

_MERGE = "tag:yaml.org,2002:merge"
_TAG = "tag:yaml.org,2002:"
_DEEPEST = 60
_MOST_DIGITS = 18
"""Of a count: 64 bits, as Kubernetes has it."""


class Tree:
    """One value; `tree["spec"]["replicas"].number` is None when any part of the way is missing."""

    __slots__ = ("__dict__", "_file", "_node", "_offset", "_start", "key")

    def __init__(self, node: Any, file: str, offset: int, start: int | None = 0, key: Place | None = None) -> None:
        self._node = node  # a node of PyYAML, which is untyped; None where there is nothing
        self._file = file
        self._offset = offset
        self._start = start
        self.key = key
        """Where the key stands that leads here."""

    def __bool__(self) -> bool:
        return self._node is not None

    def __getitem__(self, name: str | int) -> Tree:
        if isinstance(name, int):
            entries = self.entries
            return entries[name] if name < len(entries) else _NOTHING
        return self._fields.get(name, _NOTHING)

    def at(self, *path: str | int) -> Tree:
        """Follow a path."""
        tree = self
        for part in path:
            tree = tree[part]
        return tree

    @property
    def place(self) -> Place:
        """Where the value starts."""
        if self._node is None or self._node.start_mark is None:
            return Place(self._file)
        mark = self._node.start_mark
        return Place(self._file, mark.line + 1 + self._offset, mark.column + 1)

    def edited(self, text: str) -> tuple[Edit, ...]:
        """The edit that writes another text here; none where the offset in the file is not known."""
        if self._node is None or self._start is None or not isinstance(self._node, yaml.ScalarNode):
            return ()
        node = cast(Any, self._node)  # PyYAML is untyped
        return (Edit(self._file, self._start + node.start_mark.index, self._start + node.end_mark.index, text),)

    def with_fields(self, fields: Mapping[str, Tree]) -> Tree:
        """A mapping with these fields at this place."""
        return self._made(f"{_TAG}map", "_fields", dict(fields))

    def with_entries(self, entries: Iterable[Tree]) -> Tree:
        """A list of these entries at this place."""
        return self._made(f"{_TAG}seq", "entries", tuple(entries))

    def with_raw(self, raw: str) -> Tree:
        """Text at this place, which no edit can change: it is not written so."""
        node = self._node
        made = cast(Any, yaml.ScalarNode)(f"{_TAG}str", raw, node.start_mark, node.end_mark, style='"')
        return Tree(made, self._file, self._offset, None, self.key)

    def _made(self, tag: str, attribute: str, value: object) -> Tree:
        node = self._node
        marks = (node.start_mark, node.end_mark) if node is not None else (None, None)
        kind = cast(Any, yaml.MappingNode if attribute == "_fields" else yaml.SequenceNode)
        made = Tree(kind(tag, [], *marks), self._file, self._offset, self._start, self.key)
        made.__dict__[attribute] = value
        return made

    @property
    def file(self) -> str:
        """The file it stands in."""
        return self._file

    @property
    def kind(self) -> str:
        """`map`, `seq`, `str`, `int`, `float`, `bool`, `null`, another tag of YAML; empty when there is nothing."""
        return "" if self._node is None else str(self._node.tag).removeprefix(_TAG)

    @property
    def is_mapping(self) -> bool:
        return self.kind == "map"

    @property
    def is_list(self) -> bool:
        return self.kind == "seq"

    @property
    def raw(self) -> str | None:
        """A scalar as it is written, without quotes; None for anything else and for templates."""
        if self._node is None or not isinstance(self._node.value, str):
            return None
        value: str = self._node.value
        return None if "{{" in value or "${" in value else value

    @property
    def script(self) -> str | None:
        """A scalar that a shell reads, where `${...}` is the shell's; None for templates and everything else."""
        value = self._node.value if self._node is not None else None
        return value if isinstance(value, str) and "{{" not in value else None

    @property
    def text(self) -> str | None:
        """A scalar that is text; None for numbers, booleans and everything else."""
        return self.raw if self.kind == "str" else None

    @property
    def is_quoted(self) -> bool:
        return self._node is not None and getattr(self._node, "style", None) in ("'", '"')

    @property
    def number(self) -> int | None:
        """A whole number; None for everything else."""
        raw = self.raw
        if self.kind != "int" or raw is None or len(raw) > _MOST_DIGITS:
            return None
        try:
            return int(raw.replace("_", ""), 0)
        except ValueError:
            return None

    @property
    def count(self) -> int | None:
        """A whole number that is written with digits alone, in quotes or not; None for everything else."""
        return counted(self.raw or "")

    @property
    def boolean(self) -> bool | None:
        """A boolean, as YAML 1.1 has it; None for everything else."""
        raw = self.raw
        return None if self.kind != "bool" or raw is None else raw.lower() in ("true", "yes", "on")

    @cached_property
    def entries(self) -> tuple[Tree, ...]:
        """The entries of a list; empty for everything else."""
        if not self.is_list:
            return ()
        return tuple(Tree(one, self._file, self._offset, self._start) for one in self._node.value)

    @property
    def items(self) -> Iterator[tuple[str, Tree]]:
        """The keys and values of a mapping, merged ones included; a key that stands twice counts once, the last."""
        yield from self._fields.items()

    @property
    def keys(self) -> frozenset[str]:
        """The keys of a mapping."""
        return frozenset(self._fields)

    @cached_property
    def duplicates(self) -> tuple[tuple[str, Place], ...]:
        """Keys that stand in this mapping before, with the place of the later one."""
        seen: set[str] = set()
        found: list[tuple[str, Place]] = []
        for key, _ in self._node.value if self.is_mapping else ():
            name = key.value
            if not _is_name(name):
                continue
            if name in seen and key.tag != _MERGE:
                found.append((name, self._place_of(key)))
            seen.add(name)
        return tuple(found)

    def walk(self) -> Iterator[tuple[tuple[str | int, ...], Tree]]:
        """Every value below this one and itself, with its path; a value that aliases repeat is given once."""
        stack: list[tuple[tuple[str | int, ...], Tree]] = [((), self)]
        seen: set[int] = set()
        while stack:
            path, tree = stack.pop()
            if not tree or id(tree._node) in seen or len(path) > _DEEPEST:
                continue
            seen.add(id(tree._node))
            yield path, tree
            below = list(tree._fields.items()) if tree.is_mapping else list(enumerate(tree.entries))
            stack.extend(((*path, name), child) for name, child in reversed(below))

    @cached_property
    def _fields(self) -> dict[str, Tree]:
        if not self.is_mapping:
            return {}
        fields: dict[str, Tree] = {}
        for key, value in self._node.value:
            if key.tag == _MERGE:
                merged = {name: tree for one in self._merged(value) for name, tree in one._fields.items()}
                fields = {**merged, **fields}
            elif _is_name(key.value):
                fields[key.value] = Tree(value, self._file, self._offset, self._start, self._place_of(key))
        return fields

    def _merged(self, value: Any) -> list[Tree]:
        """The mappings that `<<` brings in; the first of several wins, so it comes last. An alias to itself is none."""
        nodes = list(reversed(value.value)) if value.tag == f"{_TAG}seq" else [value]
        return [Tree(one, self._file, self._offset, self._start) for one in nodes if one is not self._node]

    def _place_of(self, node: Any) -> Place:
        return Place(self._file, node.start_mark.line + 1 + self._offset, node.start_mark.column + 1)


def counted(text: str) -> int | None:
    """The number that a few digits write; None for everything else."""
    return int(text) if len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit() else None


def _is_name(key: object) -> bool:
    """Tell whether a key is one as it stands: neither a collection nor what a template engine has yet to fill."""
    return isinstance(key, str) and "{{" not in key


_NOTHING = Tree(None, "", 0)
