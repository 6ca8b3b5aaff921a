"""A value of a YAML document with its place; reading never fails: a value that is missing or of another kind is empty.

Built over the nodes of PyYAML's composer (libyaml), which keep marks and the order of keys, also of keys that occur
twice. Scalars keep their YAML 1.1 meaning, as Kubernetes reads them. A scalar with a placeholder of a template engine
(`{{ ... }}`, `${...}`) has no value: rules cannot judge it.

A document has many more values than rules ask for, so trees are made when they are asked for, and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import yaml

from corral.linting.values import Edit, Position

MERGE = "tag:yaml.org,2002:merge"
_TAG = "tag:yaml.org,2002:"
_MAP = "tag:yaml.org,2002:map"
_SEQ = "tag:yaml.org,2002:seq"
_DEEPEST = 60
_MOST_DIGITS = 18
"""Of a count: 64 bits, as Kubernetes has it."""

Path = tuple[str | int, ...]
"""Keys and positions that lead to a value."""


class Tree:
    """One value; `tree["spec"]["replicas"].number` is None when any part of the path is missing."""

    __slots__ = ("_duplicates", "_entries", "_fields", "_file", "_key", "_node", "_offset", "_start")

    def __init__(self, node: Any, file: str, offset: int, start: int | None = 0, key: Any = None) -> None:
        self._node = node  # a node of PyYAML, which is untyped; None for a missing value
        self._key = key  # the node of the key that leads here; None for a document and for an entry of a list
        self._file = file
        self._offset = offset
        self._start = start
        self._fields: dict[str, Tree] | None = None
        self._entries: tuple[Tree, ...] | None = None
        self._duplicates: tuple[tuple[str, Position], ...] | None = None

    def __bool__(self) -> bool:
        return self._node is not None

    def __getitem__(self, name: str | int) -> Tree:
        if isinstance(name, int):
            entries = self.entries
            return entries[name] if name < len(entries) else _NOTHING
        fields = self._fields
        return (self._read_fields() if fields is None else fields).get(name, _NOTHING)

    def follow(self, *path: str | int) -> Tree:
        """Follow a path."""
        tree = self
        for part in path:
            tree = tree[part]
        return tree

    @property
    def place(self) -> Position:
        """Where the value starts."""
        if self._node is None or self._node.start_mark is None:
            return Position(self._file)
        return self._locate(self._node)

    @property
    def key(self) -> Position | None:
        """Where the key is that leads to this value; None for a document and for an entry of a list."""
        return None if self._key is None else self._locate(self._key)

    def edit(self, text: str) -> tuple[Edit, ...]:
        """Return the edit that writes another text here; none where the offset in the file is unknown."""
        if self._node is None or self._start is None or not isinstance(self._node, yaml.ScalarNode):
            return ()
        node = cast(Any, self._node)  # PyYAML is untyped
        return (Edit(self._file, self._start + node.start_mark.index, self._start + node.end_mark.index, text),)

    def replace_fields(self, fields: Mapping[str, Tree]) -> Tree:
        """Return a mapping with these fields at this place."""
        mapping = self._make(yaml.MappingNode, _MAP)
        mapping._fields = dict(fields)
        return mapping

    def replace_entries(self, entries: Iterable[Tree]) -> Tree:
        """Return a list of these entries at this place."""
        sequence = self._make(yaml.SequenceNode, _SEQ)
        sequence._entries = tuple(entries)
        return sequence

    def replace_raw(self, raw: str) -> Tree:
        """Return text at this place; no edit can change it, since the file has another text there."""
        node = self._node
        scalar = cast(Any, yaml.ScalarNode)(f"{_TAG}str", raw, node.start_mark, node.end_mark, style='"')
        return Tree(scalar, self._file, self._offset, None, self._key)

    def _make(self, kind: Any, tag: str) -> Tree:
        node = self._node
        marks = (node.start_mark, node.end_mark) if node is not None else (None, None)
        return Tree(kind(tag, [], *marks), self._file, self._offset, self._start, self._key)

    def remove_tag(self) -> Tree:
        """Return the value without a tag of another program, such as Compose's `!override`."""
        kinds = {yaml.MappingNode: _MAP, yaml.SequenceNode: _SEQ, yaml.ScalarNode: f"{_TAG}str"}
        node = self._node
        if node is None or not str(node.tag).startswith("!"):
            return self
        plain = type(node)(kinds[type(node)], node.value, node.start_mark, node.end_mark)
        return Tree(plain, self._file, self._offset, self._start, self._key)

    @property
    def identity(self) -> int:
        """The same for every alias of one value of a document."""
        return id(self._node)

    @property
    def file(self) -> str:
        """The file that has the value."""
        return self._file

    @property
    def kind(self) -> str:
        """`map`, `seq`, `str`, `int`, `float`, `bool`, `null`, another tag of YAML; empty for a missing value."""
        return "" if self._node is None else str(self._node.tag).removeprefix(_TAG)

    @property
    def is_mapping(self) -> bool:
        return self._node is not None and self._node.tag == _MAP

    @property
    def is_list(self) -> bool:
        return self._node is not None and self._node.tag == _SEQ

    @property
    def raw(self) -> str | None:
        """A scalar as written, without quotes; None for anything else and for templates."""
        value = self._node.value if self._node is not None else None
        return None if not isinstance(value, str) or "{{" in value or "${" in value else value

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
        """A whole number of digits alone, in quotes or not; None for everything else."""
        return parse_count(self.raw or "")

    @property
    def boolean(self) -> bool | None:
        """A boolean of YAML 1.1; None for everything else."""
        raw = self.raw
        return None if self.kind != "bool" or raw is None else raw.lower() in ("true", "yes", "on")

    @property
    def entries(self) -> tuple[Tree, ...]:
        """The entries of a list; empty for everything else."""
        if self._entries is None:
            nodes = self._node.value if self.is_list else ()
            self._entries = tuple(Tree(node, self._file, self._offset, self._start) for node in nodes)
        return self._entries

    @property
    def items(self) -> Iterator[tuple[str, Tree]]:
        """The keys and values of a mapping, merged ones included; of a key that occurs twice, the last one."""
        yield from self._read_fields().items()

    @property
    def keys(self) -> frozenset[str]:
        """The keys of a mapping."""
        return frozenset(self._read_fields())

    @property
    def duplicates(self) -> tuple[tuple[str, Position], ...]:
        """Keys that occur earlier in this mapping, with the place of the later one."""
        if self._duplicates is None:
            self._duplicates = tuple(self._find_duplicates())
        return self._duplicates

    def _find_duplicates(self) -> Iterator[tuple[str, Position]]:
        names: set[str] = set()
        for key, _ in self._node.value if self.is_mapping else ():
            name = key.value
            if not _is_name(name):
                continue
            if name in names and key.tag != MERGE:
                yield name, self._locate(key)
            names.add(name)

    def walk(self) -> Iterator[tuple[Path, Tree]]:
        """Yield this value and every value below it, with its path; a value that aliases repeat comes once."""
        stack: list[tuple[Path, Tree]] = [((), self)]
        seen: set[int] = set()
        while stack:
            path, tree = stack.pop()
            if not tree or id(tree._node) in seen or len(path) > _DEEPEST:
                continue
            seen.add(id(tree._node))
            yield path, tree
            below = list(tree._read_fields().items()) if tree.is_mapping else list(enumerate(tree.entries))
            stack.extend(((*path, name), child) for name, child in reversed(below))

    def list_keys(self) -> tuple[list[Path], list[Tree]]:
        """List the path of every key, in the order of `walk`, and the mappings in which a key occurs twice."""
        paths = self._list_plain_keys()
        if paths is not None:
            return paths, []
        values = list(self.walk())
        return [path for path, _ in values if path and isinstance(path[-1], str)], [
            tree for _, tree in values if tree.duplicates
        ]

    def _list_plain_keys(self) -> list[Path] | None:
        """List the path of every key without making trees; None for what only trees read: `<<`, keys that occur twice
        or are not names."""
        paths: list[Path] = []
        stack: list[tuple[Path, Any]] = [((), self._node)] if self._node is not None else []
        seen: set[int] = set()
        while stack:
            path, node = stack.pop()
            if id(node) in seen or len(path) > _DEEPEST:
                continue
            seen.add(id(node))
            if path and isinstance(path[-1], str):
                paths.append(path)
            if node.tag == _MAP:
                names: set[str] = set()
                for key, value in reversed(node.value):
                    name = key.value
                    if key.tag == MERGE or not _is_name(name) or name in names:
                        return None
                    names.add(name)
                    stack.append(((*path, name), value))
            elif node.tag == _SEQ:
                stack.extend(((*path, number), node.value[number]) for number in range(len(node.value) - 1, -1, -1))
        return paths

    def _read_fields(self) -> dict[str, Tree]:
        fields = self._fields
        if fields is None:
            fields = self._fields = {}
            for key, value in self._node.value if self.is_mapping else ():
                if key.tag == MERGE:
                    merged = {name: tree for mapping in self._list_merged(value) for name, tree in mapping.items}
                    fields = self._fields = {**merged, **fields}
                elif _is_name(key.value):
                    fields[key.value] = Tree(value, self._file, self._offset, self._start, key)
        return fields

    def _list_merged(self, value: Any) -> list[Tree]:
        """List the mappings of `<<`; the first of several wins, so it comes last. An alias to the mapping itself is
        left out."""
        nodes = list(reversed(value.value)) if value.tag == _SEQ else [value]
        return [Tree(node, self._file, self._offset, self._start) for node in nodes if node is not self._node]

    def _locate(self, node: Any) -> Position:
        return Position(self._file, node.start_mark.line + 1 + self._offset, node.start_mark.column + 1)


def parse_count(text: str) -> int | None:
    """Parse a number of a few digits; None for everything else."""
    return int(text) if len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit() else None


def _is_name(key: object) -> bool:
    """Return whether a key is a name: neither a collection nor a placeholder of a template engine."""
    return isinstance(key, str) and "{{" not in key


_NOTHING = Tree(None, "", 0)
