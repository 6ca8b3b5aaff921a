"""What programs have others do for them does not descend from them: containers, units. Commands end it.

While such a program runs, its clean-up is noted in a file: when a server and the keeper of the program were both killed
with SIGKILL, or the machine lost power, the next start reads it and ends what is left.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

COMMAND_S = 20.0
"""For one command of a clean-up; docker gives a container 10 s to end in order."""
_SUFFIX = ".outside.json"

Commands = Sequence[Sequence[str]]
"""Programs with their arguments. Each is run, whatever became of those before: what is gone already makes it fail."""


def clean_up(commands: Commands) -> None:
    """Run the commands of a clean-up, one after the other; blocks."""
    for command in commands:
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(list(command), stdin=subprocess.DEVNULL, check=False, timeout=COMMAND_S)


def note(log: Path, commands: Commands) -> None:
    """Note that what these commands end runs, next to the log of its program."""
    path = _name(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([list(command) for command in commands]), encoding="utf-8")


def forget(log: Path) -> None:
    """Note that nothing runs any more."""
    _name(log).unlink(missing_ok=True)


def end_left(folder: Path) -> int:
    """End all that is noted in a folder of logs or below it, and return how many programs it was of; blocks.

    For a start, before anything runs.
    """
    left = sorted(folder.rglob(f"*{_SUFFIX}"))
    for path in left:
        with suppress(OSError, ValueError):
            clean_up(cast("list[list[str]]", json.loads(path.read_text(encoding="utf-8"))))
        path.unlink(missing_ok=True)
    return len(left)


def _name(log: Path) -> Path:
    return log.with_name(f"{log.name}{_SUFFIX}")
