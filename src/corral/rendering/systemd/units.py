"""Writes words and lines of systemd's files, so that a text from the cluster file stays one word of one line."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]")


def word(text: str) -> str:
    r"""A text as one word of a command line: `%` and `$` doubled, everything unusual as `\x20` (systemd.service)."""
    return "".join(_character(character) for character in text)


def quoted(text: str) -> str:
    """A printable text as one field of tmpfiles.d, in quotes; specifiers doubled."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def unit(sections: Iterable[tuple[str, Iterable[tuple[str, str]]]]) -> str:
    """Write the sections of a unit; a setting named `#` is a comment."""
    written = [
        f"[{name}]\n" + "".join(f"# {value}\n" if key == "#" else f"{key}={value}\n" for key, value in settings)
        for name, settings in sections
    ]
    return "\n".join(written)


def _character(character: str) -> str:
    if character in "%$":
        return character * 2
    if _PLAIN.fullmatch(character):
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode())
