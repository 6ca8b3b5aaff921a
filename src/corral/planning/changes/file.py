"""Reads a changes file: a YAML list, each entry with a word of the command line and what it is about.

- replace: {hydra-compute/gpu1: RTX 5070 Ti}
- add: {hydra-ai: [RTX 4090, RTX 4090]}
- remove: hydra-ai/gpu1
- move: {hydra-ai/gpu0: hydra-compute}
- add-node: {name: hydra-next, gpus: [RTX 5090], psu: 1200, memory: 64Gi}
- limit: {hydra-compute: 250, hydra-ai/gpu0: 450}
- psu: {hydra-compute: 1200}
- memory: {hydra-compute: 128Gi}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from corral.cluster.document import Document, Path
from corral.cluster.parsing import read
from corral.errors import Problem
from corral.planning.changes import words
from corral.planning.changes.values import Change, ChangesError

_EXAMPLE = "write a list, such as `- replace: {node/gpu1: RTX 5070 Ti}`"
_LINE_AND_COLUMN = re.compile(r":(\d+):(\d+)$")
_MOST_VALUES = 10_000  # a thousand changes have about this many


def parse_file(text: str, *, filename: str) -> tuple[Change, ...]:
    """Read the text of a changes file; `filename` is shown in problems and as the place of each change.

    Raises: ChangesError with every problem of the file, by line and column.
    """
    document = read(text, filename=filename, most_values=_MOST_VALUES)
    problems = [_of_changes(problem) for problem in document.sorted_problems()]
    if not isinstance(document.value, list) or not document.value:
        what = "a changes file is a list, and this is none" if document.value else "the changes file is empty"
        problem = Problem(code="changes.bad_value", what=what, where=f"{filename}:1:1", hint=_EXAMPLE)
        raise ChangesError(problems or [problem])
    changes: list[Change] = []
    for made in _made(document):
        if isinstance(made, Problem):
            problems.append(made)
        else:
            changes.extend(made)
    if problems:
        raise ChangesError(sorted(problems, key=_line_and_column), readable=changes)
    return tuple(changes)


def _made(document: Document) -> Iterator[tuple[Change, ...] | Problem]:
    for index, entry in enumerate(document.value):
        change = _mapping(entry)
        if not change:
            what = "an entry is not a change"
            yield Problem(code="changes.bad_value", what=what, where=_where(document, (index,)), hint=_EXAMPLE)
        for word, asked in change.items():
            yield from _asked(document, word, asked, (index, word))


def _asked(document: Document, word: str, asked: Any, at: Path) -> Iterator[tuple[Change, ...] | Problem]:  # plain YAML
    where = _where(document, at)
    targets = _mapping(asked)
    if not targets:
        yield words.make(word, "" if asked is None else str(asked), None, where)
    elif word == "add-node":
        yield words.make_node(targets, where)
    for target, value in targets.items() if word != "add-node" else ():
        yield words.make(word, target, value, _where(document, (*at, target)))


def _mapping(value: Any) -> Mapping[str, Any]:  # plain YAML
    mapping: Mapping[str, Any] = value
    return mapping if isinstance(value, dict) else {}


def _where(document: Document, at: Path) -> str:
    position = document.keys.get(at) or document.values.get(at)
    return f"{document.filename}:{position.line}:{position.column}" if position else document.filename


def _of_changes(problem: Problem) -> Problem:
    return replace(problem, code=f"changes.{problem.code.partition('.')[2]}")


def _line_and_column(problem: Problem) -> tuple[int, int]:
    match = _LINE_AND_COLUMN.search((problem.where or "").partition(" ")[0])
    return (int(match[1]), int(match[2])) if match else (0, 0)
