"""Renders words, fields and sections of systemd's files; a text of the cluster file stays one word of one line."""

from __future__ import annotations

import re
from collections.abc import Iterable

Setting = tuple[str, str]
"""The key and the value of one line of a unit; the key `#` makes a comment."""

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]")


def escape_word(text: str) -> str:
    r"""A text as one word of a command line: `%` and `$` doubled, other special characters as `\x20`.

    Source: systemd.service, section on command lines.
    """
    return "".join(_escape_character(character) for character in text)


def quote_field(text: str) -> str:
    """A printable text as one field of tmpfiles.d: in quotes, with doubled specifiers."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def format_unit(sections: Iterable[tuple[str, Iterable[Setting]]]) -> str:
    """Format the sections of a unit, each a name and its settings."""
    texts = [
        f"[{name}]\n" + "".join(f"# {value}\n" if key == "#" else f"{key}={value}\n" for key, value in settings)
        for name, settings in sections
    ]
    return "\n".join(texts)


def _escape_character(character: str) -> str:
    if character in "%$":
        return character * 2
    if _PLAIN.fullmatch(character):
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode())
