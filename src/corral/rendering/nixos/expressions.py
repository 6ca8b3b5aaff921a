"""Renders values as Nix, and a module of parts; a text of the cluster file stays text whatever its characters."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*")
_KEYWORDS = frozenset({"assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"})
_SHORT = 70
_ESCAPES = {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_COMMENT_WIDTH = 112


@dataclass(frozen=True, slots=True)
class Code:
    """Nix code, rendered unchanged; never made of text from the cluster file."""

    text: str


@dataclass(frozen=True, slots=True)
class Lines:
    """A text of several lines, rendered as such: a script, a configuration file. It ends with a line break."""

    text: str


Value: TypeAlias = "bool | int | str | Code | Lines | Sequence[Value] | Mapping[str, Value] | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a module: options that belong together, with one comment."""

    comment: str
    """Empty for none; it is wrapped."""
    values: Mapping[str, Value]
    """By path, with dots; a path is in one part only."""


def format_module(parts: Iterable[Part]) -> str:
    """Format a module of parts."""
    body = "\n".join(_format_part(part) for part in parts)
    return f"{{ config, lib, pkgs, ... }}:\n\n{{\n{body}}}\n"


def quote_text(text: str) -> str:
    """A text as a Nix string: nothing in it is evaluated, and nothing in it ends the string."""
    return '"' + "".join(_ESCAPES.get(character, character) for character in text) + '"'


def format_key(name: str) -> str:
    """The name of an attribute, in quotes if Nix needs them."""
    return name if _NAME.fullmatch(name) and name not in _KEYWORDS else quote_text(name)


def format_value(value: Value, indent: str = "") -> str:
    """Format a value. Its first line follows other text on the same line; the others are indented by `indent`."""
    deeper = indent + "  "
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quote_text(value)
    if isinstance(value, Code):
        return value.text.replace("\n", f"\n{indent}")
    if isinstance(value, Lines):
        return _format_lines(value.text, indent)
    if isinstance(value, Mapping):
        inside = "".join(f"{deeper}{format_key(key)} = {format_value(item, deeper)};\n" for key, item in value.items())
        return f"{{\n{inside}{indent}}}" if inside else "{ }"
    return _format_list([_format_entry(entry, deeper) for entry in value], indent)


def _format_part(part: Part) -> str:
    lines = textwrap.wrap(part.comment, width=_COMMENT_WIDTH, break_long_words=False, break_on_hyphens=False)
    comment = "".join(f"  # {line}\n" for line in lines)
    options = "".join(f"  {_format_path(path)} = {format_value(value, '  ')};\n" for path, value in part.values.items())
    return comment + options


def _format_path(path: str) -> str:
    return ".".join(format_key(name) for name in path.split("."))


def _format_list(entries: Sequence[str], indent: str) -> str:
    """A list, on one line if that is short."""
    line = " ".join(("[", *entries, "]"))
    if len(line) <= _SHORT and "\n" not in line:
        return line
    return "[\n" + "".join(f"{indent}  {entry}\n" for entry in entries) + f"{indent}]"


def _format_entry(value: Value, indent: str) -> str:
    """An entry of a list; code of several words needs parentheses there."""
    text = format_value(value, indent)
    return f"({text})" if isinstance(value, Code) and re.search(r"\s", text) else text


def _format_lines(text: str, indent: str) -> str:
    """An indented string if the text needs no escapes there, else a quoted one.

    Nix removes the indentation that all lines share: a line without any limits that to ours.
    """
    lines = text.removesuffix("\n").split("\n")
    has_margin = any(line and not line[0].isspace() for line in lines)
    needs_escapes = any(part in text for part in ("'", "${", "$$")) or not all(line.isprintable() for line in lines)
    if needs_escapes or not has_margin or not text.endswith("\n"):
        return quote_text(text)
    inside = "".join(f"{indent}  {line}\n" if line else "\n" for line in lines)
    return f"''\n{inside}{indent}''"
