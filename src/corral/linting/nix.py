"""Reads Nix as far as rules need it: paths and their values, lists of text, and comments, each with its place.

Parsed by tree-sitter, which continues after syntax errors: a part of a module in a page is read like a whole module.
Nothing is evaluated: a value that is computed has no text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import tree_sitter
import tree_sitter_nix

LARGEST_TEXT = 2_000_000
"""Characters; larger texts are not the configuration of a machine."""

_LONGEST_PATH = 1_000
"""Characters; what is nested deeper than options are is not followed."""
_NO_OPTION = "let"
"""The path of names that are values of the expression: `let`, and arguments of functions."""
_CONDITIONS = frozenset(
    {
        "mkIf", "mkMerge", "mkDefault", "mkForce", "mkOverride", "mkBefore", "mkAfter", "mkOrder", "mkVMOverride",
        "optionalAttrs", "optional", "optionals", "recursiveUpdate", "mkAssert",
    }
)  # fmt: skip
"""Functions of nixpkgs' library whose arguments are settings as if the function were not there."""
_PACKAGE = re.compile(r"\bnvidiaPackages\.\w+|\bpkgs\.\w+|\bnvidia_x11\w*")
DECIDING_OPTIONS = frozenset(
    {
        "hardware.nvidia.open",
        "hardware.nvidia.package",
        "hardware.nvidia.branch",
        "services.k3s.enable",
        "services.k3s.role",
    }
)
"""Options whose value decides whether a rule finds anything."""
_STRINGS = frozenset({"string_expression", "indented_string_expression"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A string without computed parts, or a comment."""

    text: str
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A path and its value: `services.k3s.role = "agent"`."""

    path: str
    """With the paths of the sets around it: `services.k3s.role`."""
    offset: int
    """Of the path, in characters of the text."""
    source: str
    """The value as written."""
    value_offset: int
    text: str | None
    """A plain string."""
    words: tuple[Word, ...]
    """Every plain string in the value, also in lists and calls."""

    @property
    def is_computed(self) -> bool:
        """Whether its value is neither written out nor one of nixpkgs' packages."""
        is_written = self.text is not None or self.boolean is not None or self.source[:1] in "[{0123456789"
        return not is_written and not _PACKAGE.search(self.source)

    @property
    def boolean(self) -> bool | None:
        """`true` or `false`; None for everything else."""
        return {"true": True, "false": False}.get(self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class NixText:
    """A text of Nix."""

    bindings: tuple[Binding, ...]
    comments: tuple[Word, ...]
    error_offset: int | None = None
    """Where the first part is that is not Nix, in characters of the text; None when all of it is."""

    def find_under(self, path: str) -> Iterator[Binding]:
        """Find the bindings of a path and of the paths below it."""
        return (binding for binding in self.bindings if binding.path == path or binding.path.startswith(f"{path}."))

    def find_last(self, path: str) -> Binding | None:
        """Find the last binding of a path; None when there is none."""
        return next((binding for binding in reversed(self.bindings) if binding.path == path), None)


def read_nix(text: str) -> NixText:
    """Read a file, or a part of one; what cannot be read is left out."""
    if len(text) > LARGEST_TEXT:
        return NixText(bindings=(), comments=())
    whole = _Reader(text, "")
    if not whole.errors:
        return whole.read()
    part = _Reader(f"{{\n{text}\n}}", "{\n")
    return whole.read() if len(whole.errors) <= len(part.errors) else part.read()


class _Reader:
    """One parse; `before` is a prefix of the text, so that bare bindings are in a set."""

    def __init__(self, text: str, before: str) -> None:
        self._bytes = text.encode()
        self._further = [] if text.isascii() else [at for at, byte in enumerate(self._bytes) if byte & 0xC0 == 0x80]
        self._before = len(before)
        parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_nix.language()))
        self._root = parser.parse(self._bytes).root_node
        is_broken = self._root.has_error
        broken = (node for node in self._walk(self._root) if node.is_error or node.is_missing) if is_broken else ()
        self.errors = [node for node in broken if not _is_of_formals(node)]

    def read(self) -> NixText:
        comments = [
            Word(text=self._decode(node), offset=self._count_offset(node))
            for node in self._walk(self._root)
            if node.type == "comment"
        ]
        error_offset = min((self._count_offset(node) for node in self.errors), default=None)
        bindings = tuple(self._read_bindings(self._root, ""))
        return NixText(bindings=bindings, comments=tuple(comments), error_offset=error_offset)

    def _walk(self, node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
        stack = [node]
        while stack:
            current = stack.pop()
            yield current
            stack.extend(reversed(current.children))

    def _read_bindings(self, root: tree_sitter.Node, prefix: str) -> Iterator[Binding]:
        stack = [(root, prefix)]
        while stack:
            node, before = stack.pop()
            if node.type == "let_expression":  # its own names are not options
                body = node.child_by_field_name("body")
                stack.extend((child, before if child == body else _NO_OPTION) for child in reversed(node.children))
                continue
            if node.type == "apply_expression" and before and self._read_function(node) not in _CONDITIONS:
                before = _NO_OPTION
            if node.type != "binding":
                stack.extend((child, before) for child in reversed(node.children))
                continue
            name, value = node.child_by_field_name("attrpath"), node.child_by_field_name("expression")
            if name is None or value is None:
                continue
            path = f"{before}.{self._read_path(name)}".lstrip(".")
            yield self._make_binding(path, name, value)
            if len(path) < _LONGEST_PATH:
                stack.append((value, path))

    def _read_function(self, node: tree_sitter.Node) -> str:
        """Read the last part of the name of the function that is called: `mkIf` of `lib.mkIf condition { }`."""
        current: tree_sitter.Node | None = node
        while current is not None and current.type == "apply_expression":
            current = current.child_by_field_name("function")
        return "" if current is None else self._decode(current).rpartition(".")[2]

    def _read_path(self, node: tree_sitter.Node) -> str:
        return self._decode(node).replace('"', "")

    def _make_binding(self, path: str, name: tree_sitter.Node, value: tree_sitter.Node) -> Binding:
        first = bisect_left(self._words, value.start_byte, key=_start)
        last = bisect_left(self._words, value.end_byte, key=_start)
        is_string = value.type in _STRINGS
        return Binding(
            path=path,
            offset=self._count_offset(name),
            source=self._decode(value),
            value_offset=self._count_offset(value),
            text=self._read_text(value) if is_string else None,
            words=tuple(word for _, word in self._words[first:last]),
        )

    @cached_property
    def _words(self) -> list[tuple[int, Word]]:
        """Every plain string by its first byte, in the order of the text."""
        return [
            (node.start_byte, Word(text=text, offset=self._count_offset(node)))
            for node in self._walk(self._root)
            if node.type in _STRINGS and (text := self._read_text(node)) is not None
        ]

    def _read_text(self, node: tree_sitter.Node) -> str | None:
        """The content of a string; None when a part of it is computed."""
        if any(child.type == "interpolation" for child in node.children):
            return None
        return "".join(self._decode(child) for child in node.children if child.is_named)

    def _decode(self, node: tree_sitter.Node) -> str:
        return self._bytes[node.start_byte : node.end_byte].decode(errors="replace")

    def _count_offset(self, node: tree_sitter.Node) -> int:
        """Where a node starts, in characters: bytes without those that go on with a character of several."""
        return max(0, node.start_byte - bisect_left(self._further, node.start_byte) - self._before)


def _start(word: tuple[int, Word]) -> int:
    return word[0]


def _is_of_formals(node: tree_sitter.Node) -> bool:
    """Return whether a node is of the arguments of a function: the grammar does not know the comma after the last."""
    current: tree_sitter.Node | None = node
    for _ in range(3):
        if current is None or current.type == "formals":
            break
        current = current.parent
    return current is not None and current.type == "formals"
