"""Text from users, engines and models, without the characters that steer a terminal.

A task's name or a program's output can hold escape sequences that clear the screen, retitle the window or type into
it, and direction marks that show words in another order. They are shown as what they are: `\\x1b[2J`.

Belongs here: which characters those are.
Does not belong here: where text is printed.
May import: nothing of Corral.
"""

from __future__ import annotations

import re

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters but tab and line feed (ECMA-48: C0, DEL, C1), separators and overrides of direction (Unicode)."""


def make_printable(text: str) -> str:
    """Return the text with steering characters spelled out; tabs and lines stay."""
    return _STEERING.sub(_spell, text.replace("\r\n", "\n"))


def make_printable_line(text: str) -> str:
    """Return the text as one line: a line feed in it is spelled out too."""
    return make_printable(text).replace("\n", "\\n")


def make_printable_json(text: str) -> str:
    """Return written JSON with steering characters as JSON's own escapes, which mean the same to programs."""
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
