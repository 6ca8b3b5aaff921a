"""Reads changes from words of a command line: `--replace hydra-compute/gpu1="RTX 5070 Ti"`."""

from __future__ import annotations

from collections.abc import Iterable

from corral.errors import Problem
from corral.planning.changes import words
from corral.planning.changes.values import Change, ChangesError


def parse_options(options: Iterable[tuple[str, str]]) -> tuple[Change, ...]:
    """Read options as pairs of a word without dashes (`replace`) and what stands behind it (`node/gpu1=RTX 5070 Ti`).

    Raises: ChangesError with every option that cannot be read.
    """
    changes: list[Change] = []
    problems: list[Problem] = []
    for word, text in options:
        target, equals, value = text.partition("=")
        made = words.make(word, target.strip(), value.strip() if equals else None, f"--{word} {target.strip()}".strip())
        if isinstance(made, Problem):
            problems.append(made)
        else:
            changes.extend(made)
    if problems:
        raise ChangesError(problems, readable=changes)
    return tuple(changes)
