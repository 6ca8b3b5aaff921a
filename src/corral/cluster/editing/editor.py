"""Edits one text: assign, rename, append and remove by path, all of them checked together at the end."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from corral.cluster.document import ClusterFileError, YamlPath, locate, spell
from corral.cluster.editing import splices
from corral.cluster.editing.spelling import Plain
from corral.cluster.editing.tree import NotFollowedError, Part, find, find_entry, parse
from corral.cluster.parsing import read
from corral.errors import CorralError, Kind


class UneditableError(CorralError):
    """The file is written in a way that an edit would change other things as well."""

    code: ClassVar[str] = "cluster.uneditable"
    kind: ClassVar[Kind] = Kind.CONFLICT


class Editor:
    """The text of a file, and its plain values, which every edit changes alike; one instance for a series of edits."""

    def __init__(self, text: str, *, filename: str) -> None:
        """Read the text. Raises: ClusterFileError when it is not YAML, or not a mapping."""
        document = read(text, filename=filename)
        value: Any = document.value  # plain YAML, here and below
        if not document.problems and not isinstance(value, dict):
            document.report("cluster.bad_value", "the file must be a mapping", at=(), hint="start with `apiVersion`")
        if document.problems:
            raise ClusterFileError(document.sort_problems())
        self._filename = filename
        self._text = text
        self._tree: Part | None = None
        """The parts of the text; None after an edit, until they are needed."""
        self.values: Any = value
        """The values of the text as it is now: for reading; the methods below change them."""

    def get(self, path: YamlPath) -> Any:  # plain YAML
        """Return the value at a path; None when there is none."""
        value = self.values
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def has(self, path: YamlPath) -> bool:
        """Whether the file has a value at a path, null included."""
        parent = self.get(path[:-1])
        if isinstance(parent, list):
            return path[-1] in range(len(parent))  # pyright: ignore[reportUnknownArgumentType]
        return isinstance(parent, dict) and path[-1] in parent

    def list_paths(self, path: YamlPath) -> list[YamlPath]:
        """List the paths of the entries of the list or mapping at a path; none when there is none."""
        value = self.get(path) or ()
        keys: list[str] = list(value)
        return [(*path, step) for step in (keys if isinstance(value, dict) else range(len(keys)))]

    def assign(self, path: YamlPath, value: Plain, *, after: str | None = None) -> None:
        """Make the value at `path` equal to `value` with few edits; a new key comes behind the key `after`, or last."""
        old = self.get(path)
        if self.has(path) and old == value and type(old) is type(value):
            return
        if isinstance(old, dict) and old and isinstance(value, Mapping) and value:
            self._assign_keys(path, value)
        elif isinstance(old, list) and old and isinstance(value, list | tuple) and value:
            self._assign_items(path, list(value))
        else:
            self._set(path, value, after)

    def append(self, path: YamlPath, value: Plain) -> None:
        """Add an item to the list at `path`; the list is made when there is none."""
        items = self.get(path)
        if not items:
            self._set(path, [value], None)
            return
        self._edit(path, lambda parent: splices.append(self._text, parent, value))
        items.append(copy.deepcopy(value))

    def remove(self, path: YamlPath) -> None:
        """Take a key or an item out, with the comments on its lines; what becomes empty is written `[]` or `{}`."""
        *above, step = path
        self._find_part(path)  # it must be written there itself, not in what an alias means
        parent = self._find_part(tuple(above))
        if len(parent.entries) == 1 and not parent.is_flow and above:
            *outer, name = above
            self._edit(tuple(outer), lambda holder: splices.empty(self._text, find_entry(holder, name)))
        else:
            self._edit(tuple(above), lambda holder: splices.remove(self._text, holder, find_entry(holder, step)))
        del self.get(path[:-1])[path[-1]]

    def rename(self, path: YamlPath, key: str) -> None:
        """Give another name to the key that `path` ends with; it keeps its line and its comment."""
        parent = self.get(path[:-1])
        self._edit(path[:-1], lambda holder: splices.rename(self._text, find_entry(holder, path[-1]), key))
        items = [(key if old == path[-1] else old, value) for old, value in parent.items()]
        parent.clear()
        parent.update(items)

    def locate(self, path: YamlPath) -> str:
        """Return the place of a value as `file:line:column path`; of the nearest around it if it has none."""
        while path and not self.has(path):
            path = path[:-1]
        try:
            offset = find(self._parse_root(), path)[-1].start
        except NotFollowedError:
            offset = 0
        position = locate(self._text, offset)
        return f"{self._filename}:{position.line}:{position.column} {spell(path)}".rstrip()

    def finish(self) -> str:
        """Return the new text. Raises: UneditableError when its values are not those that the edits were for."""
        document = read(self._text, filename=self._filename)
        if document.problems or document.value != self.values:
            raise self._make_error((), "the edit would change other parts of the file as well")
        return self._text

    def _assign_keys(self, path: YamlPath, value: Mapping[str, Plain]) -> None:
        for key in [key for key in self.get(path) if key not in value]:
            self.remove((*path, key))
        for key, inner in value.items():
            self.assign((*path, key), inner)

    def _assign_items(self, path: YamlPath, values: list[Plain]) -> None:
        for index in reversed(range(len(values), len(self.get(path)))):
            self.remove((*path, index))
        for index, value in enumerate(values):
            if self.has((*path, index)):
                self.assign((*path, index), value)
            else:
                self.append(path, value)

    def _set(self, path: YamlPath, value: Plain, after: str | None) -> None:
        step = path[-1]
        if self.has(path):
            self._edit(path[:-1], lambda parent: splices.replace(self._text, parent, find_entry(parent, step), value))
        elif self.get(path[:-1]) is None:
            self._set(path[:-1], {str(step): value}, None)
            return
        else:
            self._edit(path[:-1], lambda parent: splices.insert_key(self._text, parent, str(step), value, after=after))
        self.get(path[:-1])[step] = copy.deepcopy(value)

    def _edit(self, path: YamlPath, splice: Callable[[Part], str]) -> None:
        """Apply a splice to the part at a path."""
        part = self._find_part(path)
        try:
            self._text, self._tree = splice(part), None
        except NotFollowedError as error:
            raise self._make_error(path, str(error)) from error

    def _find_part(self, path: YamlPath) -> Part:
        try:
            return find(self._parse_root(), path)[-1]
        except NotFollowedError as error:
            raise self._make_error(path, str(error)) from error

    def _parse_root(self) -> Part:
        if self._tree is None:
            self._tree = parse(self._text)
        return self._tree

    def _make_error(self, path: YamlPath, what: str) -> UneditableError:
        return UneditableError(
            f"this file cannot be edited here: {what}",
            where=f"{self._filename} {spell(path)}".rstrip(),
            hint="write that part out, without `&`, `*`, `<<` and `?`, or edit it by hand",
        )
