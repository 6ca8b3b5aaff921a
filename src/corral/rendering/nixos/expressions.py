"""Writes values as Nix: text from the cluster file stays text, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*")
_KEYWORDS = frozenset({"assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"})
_SHORT = 70
_ESCAPES = {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Code:
    """Nix as it is written; never made of text from the cluster file."""

    text: str


@dataclass(frozen=True, slots=True)
class Lines:
    """A text of several lines, written as such: a script, a configuration file. It ends with a line break."""

    text: str


Value: TypeAlias = "bool | int | str | Code | Lines | Sequence[Value] | Mapping[str, Value]"


def quoted(text: str) -> str:
    """A Nix string: nothing in it is evaluated, nothing in it ends it."""
    return '"' + "".join(_ESCAPES.get(character, character) for character in text) + '"'


def key(name: str) -> str:
    """The name of an attribute, quoted where Nix needs it."""
    return name if _NAME.fullmatch(name) and name not in _KEYWORDS else quoted(name)


def written(value: Value, indent: str = "") -> str:
    """Write a value; its first line follows something else, the others are indented."""
    deeper = indent + "  "
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Code):
        return value.text.replace("\n", f"\n{indent}")
    if isinstance(value, Lines):
        return _lines(value.text, indent)
    if isinstance(value, Mapping):
        inside = "".join(f"{deeper}{key(name)} = {written(one, deeper)};\n" for name, one in value.items())
        return f"{{\n{inside}{indent}}}" if inside else "{ }"
    return _list([_entry(one, deeper) for one in value], indent)


def _list(entries: Sequence[str], indent: str) -> str:
    """A list, on one line where that is short."""
    line = " ".join(("[", *entries, "]"))
    if len(line) <= _SHORT and "\n" not in line:
        return line
    return "[\n" + "".join(f"{indent}  {entry}\n" for entry in entries) + f"{indent}]"


def _entry(value: Value, indent: str) -> str:
    """An entry of a list; code of several words stands in brackets there."""
    text = written(value, indent)
    return f"({text})" if isinstance(value, Code) and re.search(r"\s", text) else text


def _lines(text: str, indent: str) -> str:
    """An indented string where that needs no escapes, else a quoted one.

    Nix takes away the indentation that all lines share: a line without any keeps it to ours.
    """
    lines = text.removesuffix("\n").split("\n")
    has_margin = any(line and not line[0].isspace() for line in lines)
    needs_escapes = any(part in text for part in ("'", "${", "$$")) or not all(line.isprintable() for line in lines)
    if needs_escapes or not has_margin or not text.endswith("\n"):
        return quoted(text)
    inside = "".join(f"{indent}  {line}\n" if line else "\n" for line in lines)
    return f"''\n{inside}{indent}''"
