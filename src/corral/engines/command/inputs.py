"""The inputs of a `command` task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, cast

from pydantic import Field

from corral.engines.schema import EngineInputs

Text = Annotated[str, Field(max_length=100_000, pattern=r"^[^\x00]*$")]
VariableName = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]

_PATH_RULE = "it must be relative and stay inside the attempt's folder"


class CommandInputs(EngineInputs):
    """Inputs of `command`; it starts in a folder of its own, with the task's files in `inputs/`."""

    argv: list[Text] = Field(min_length=1, max_length=1000, description="Program and arguments; no shell is involved.")
    env: dict[VariableName, Text] = Field(
        default_factory=dict[str, str], max_length=200, description="Variables added to a small clean environment."
    )
    cwd: str = Field(".", max_length=1000, description="Working directory in the attempt's folder; made if missing.")
    stdin: str | None = Field(None, max_length=1_000_000, description="Text on its standard input; empty when absent.")
    outputs: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(
        default_factory=list[str],
        max_length=100,
        description="Files to keep, as glob patterns relative to `cwd`, such as `out/*.png`; each must match a file.",
    )

    @classmethod
    def list_conflicts(cls, given: Mapping[str, Any]) -> Iterable[str]:  # Any: JSON from the user
        """Say which paths leave the attempt's folder, and whether the program has no name."""
        argv = given.get("argv")
        if isinstance(argv, list) and argv and not cast("list[object]", argv)[0]:
            yield "'argv' starts with an empty program name"
        if isinstance(cwd := given.get("cwd"), str) and not _stays_inside(cwd):
            yield f"'cwd' is {cwd!r}, but {_PATH_RULE}"
        patterns = given.get("outputs")
        for pattern in cast("list[object]", patterns) if isinstance(patterns, list) else ():
            if isinstance(pattern, str) and not _stays_inside(pattern):
                yield f"'outputs' holds {pattern!r}, but {_PATH_RULE}"


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and "\0" not in path
