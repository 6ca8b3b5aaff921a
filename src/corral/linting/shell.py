"""What a rule asks of a shell script, without running or fully parsing it."""

from __future__ import annotations

import re

_JOINED = re.compile(r"(?:\\|&&|\|\||\|)[ \t]*\n")
_OPENS = re.compile(r"^(?:if|for|while|until|case)\b")
_CLOSES = re.compile(r"(?:^|;[ \t]*|[ \t])(?:fi|done|esac)\b")
_HARMLESS = re.compile(r"^(?:echo|printf|export|sleep|true|:|exit|[A-Za-z_]\w*=[^$`]*$|[{}()]|\w+[ \t]*\(\))")
_GUARDED = re.compile(r"\|\|[ \t]*(?:exit|return|\{)")


def commands_that_may_fail(script: str) -> int:
    """Count the commands of a script whose failure the next one would hide; a loop or a condition is one command."""
    depth = number = 0
    for line in _JOINED.sub(" ", script).splitlines():
        command = line.strip()
        if not command or command.startswith("#"):
            continue
        if depth == 0 and not _HARMLESS.match(command) and not _GUARDED.search(command):
            number += 1
        depth = max(0, depth + bool(_OPENS.match(command)) - len(_CLOSES.findall(command)))
    return number
