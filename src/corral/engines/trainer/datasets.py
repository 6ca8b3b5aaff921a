"""Data sets of text: JSON lines with `prompt` and `answer`, every problem reported at once.

Belongs here: reading and checking. Standard library alone: the worker and the trainer read by this.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

FIELDS = ("prompt", "answer")
LONGEST_BYTES = 1_000_000
"""Of a line: a longer one is a file of another kind, not an example."""
_REPORTED = 20
"""Problems that are listed; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A prompt, and the answer that is learnt."""

    prompt: str
    answer: str


class DataSetError(ValueError):
    """A data set that cannot be used; `problems` has every reason."""

    def __init__(self, problems: list[str]) -> None:
        left_out = len(problems) - _REPORTED
        listed = problems[:_REPORTED] + ([f"and {left_out} more"] if left_out > 0 else [])
        super().__init__("; ".join(listed))
        self.problems = tuple(problems)


def read_examples(path: Path) -> tuple[Example, ...]:
    """Read a data set. Raises: DataSetError with all of them; OSError."""
    examples: list[Example] = []
    problems: list[str] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            problems_here = list(_find_problems(line))
            problems += [f"line {number}: {problem}" for problem in problems_here]
            if not problems_here:
                fields = json.loads(line)
                examples.append(Example(prompt=fields["prompt"], answer=fields["answer"]))
    if not examples and not problems:
        problems.append("it has no examples: write one JSON object with `prompt` and `answer` on each line")
    if problems:
        raise DataSetError(problems)
    return tuple(examples)


def _find_problems(line: bytes) -> Iterator[str]:
    if len(line) > LONGEST_BYTES:
        yield f"it has {len(line)} bytes, and the most is {LONGEST_BYTES}"
        return
    try:
        content: object = json.loads(line)
    except ValueError as error:
        yield f"it is not JSON: {error}"
        return
    if not isinstance(content, dict):
        yield "it is not a JSON object"
        return
    fields = cast("dict[str, Any]", content)  # Any: JSON from the user
    for name in FIELDS:
        value = fields.get(name)
        if not isinstance(value, str) or not value.strip():
            yield f"{name!r} is missing" if name not in fields else f"{name!r} is {value!r:.40}, not text"
    yield from (f"{name!r} has no meaning" for name in fields if name not in FIELDS)
