"""Writes values as YAML: inside brackets on one line, or as a block of lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Plain = None | bool | int | float | str | Sequence["Plain"] | Mapping[str, "Plain"]
"""The values that a cluster file is made of."""

_STEP = 2  # spaces of indentation, as in all examples
_WORDS = re.compile(r"[A-Za-z](?:[A-Za-z0-9._/+-]| (?=[A-Za-z0-9]))*", re.ASCII)
_NUMBER_AND_WORD = re.compile(r"[0-9][A-Za-z0-9._-]*[g-np-wyzG-NP-WYZ][A-Za-z0-9_-]*", re.ASCII)
"""Such as `5070ti` or `23.5Gi`. Words with only a-f, o or x next to digits can be numbers (`0x1F`, `0o7`, `1e5`)."""
_OTHER_MEANING = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Words that some version of YAML reads as something else than text."""


def write_scalar(value: bool | float | str | None) -> str:
    """Write one value; text stays without quotes where no version of YAML reads it as anything else."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return str(value)
    is_plain = _WORDS.fullmatch(value) or _NUMBER_AND_WORD.fullmatch(value)
    return value if is_plain and value.lower() not in _OTHER_MEANING else _quote(value)


def write_size(value: int) -> str | int:
    """Write bytes as the file has them: `64Gi`, in the largest unit that is exact."""
    units = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))
    return next((f"{value // factor}{unit}" for unit, factor in units if value and value % factor == 0), value)


def round_size(value: int) -> str:
    """Write measured bytes for people: whole Gi where they are, else with one decimal."""
    return f"{value // 2**30}Gi" if value % 2**30 == 0 else f"{value / 2**30:.1f}Gi"


def write_flow(value: Plain) -> str:
    """Write a value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{write_scalar(key)}: {write_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(write_flow(inner) for inner in value) + "]"
    return write_scalar(value)


def write_pair(key: str, value: Plain, column: int) -> list[str]:
    """Write `key: value` at a column, as lines; a list of mappings gets a line for each, `labels` and its like too."""
    head = f"{' ' * column}{write_scalar(key)}:"
    inner = column + _STEP
    if isinstance(value, Mapping) and value and not _is_short(value):
        return [head, *(line for name, entry in value.items() for line in write_pair(name, entry, inner))]
    if isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(item, Mapping) for item in value):
        return [head, *(line for entry in value for line in write_item(entry, inner, as_block=False))]
    return [f"{head} {write_flow(value)}"]


def write_item(value: Plain, column: int, *, as_block: bool) -> list[str]:
    """Write a list's entry, its dash at a column; a mapping goes on one line, or as a block: a line for each key."""
    if not as_block or not isinstance(value, Mapping) or not value:
        return [f"{' ' * column}- {write_flow(value)}"]
    lines = [line for key, entry in value.items() for line in write_pair(key, entry, column + _STEP)]
    return [f"{' ' * column}- {lines[0].lstrip()}", *lines[1:]]


def _is_short(value: Mapping[str, Plain]) -> bool:
    """Whether a mapping reads well on one line: few plain keys, such as those of `psu` and `cpu`, not of `labels`."""
    return len(write_flow(value)) <= 60 and not any("/" in key for key in value)


def _quote(text: str) -> str:
    return '"' + "".join(_escape(character) for character in text) + '"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
