"""Reads a batch's file twice: first whole, for what makes it unusable and which models it asks for; then in parts.

Everything here blocks: it runs outside the event loop.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from corral.errors import CorralError, Problem
from corral.gateway.catalogue import Offer
from corral.gateway.openai.batches.inputs import make_inputs
from corral.gateway.openai.batches.lines import (
    LARGEST_LINE,
    MAX_LINES,
    BatchFileError,
    Line,
    LineError,
    check_line,
    read_line,
    write_refusal_line,
)
from corral.server.api.accepting import make_spec
from corral.server.api.requests import BatchTaskAsked
from corral.server.api.strict_json import parse
from corral.tasks.submission_checks import MAX_TASKS, SubmissionRules, check_content
from corral.work import Json

PART_LINES = MAX_TASKS
"""Requests of one batch of the queue."""
MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Survey:
    """A file as a whole."""

    total: int
    models: frozenset[str]


def survey_file(path: Path, endpoint: str) -> Survey:
    """Look at a whole file. Raises: BatchFileErrors."""
    problems: list[BatchFileError] = []
    ids: dict[str, int] = {}
    models: set[str] = set()
    total = 0
    for total, content in enumerate(read_contents(path), 1):
        if total > MAX_LINES:
            problems.append(BatchFileError(f"it has more than {MAX_LINES} requests", reason="too_many_requests"))
            break
        try:
            line = read_line(total, content)
            if (first := ids.setdefault(line.custom_id, total)) != total:
                what = f"`custom_id` is {line.custom_id[:80]!r}, as in line {first}"
                raise BatchFileError(what, reason="duplicate_custom_id", line=total)
        except BatchFileError as error:
            problems.append(error)
            if len(problems) >= MOST_PROBLEMS:
                break
            continue
        model = line.body.get("model")
        if isinstance(model, str):
            models.add(model)
    if not total:
        problems.append(BatchFileError("it has no requests", reason="empty_file"))
    if problems:
        raise BatchFileErrors(problems)
    return Survey(total, frozenset(models))


class BatchFileErrors(Exception):
    """Everything that makes a file unusable."""

    def __init__(self, problems: Sequence[BatchFileError]) -> None:
        super().__init__(len(problems))
        self.problems = tuple(problems)


def read_contents(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file that are not blank. Raises: BatchFileErrors for one that is too long."""
    with path.open("rb") as file:
        number = 0
        while content := file.readline(LARGEST_LINE + 1):
            number += bool(content.strip())
            if len(content) > LARGEST_LINE:
                what = f"the line has more than {LARGEST_LINE} bytes"
                raise BatchFileErrors([BatchFileError(what, reason="line_too_long", line=number)])
            if content.strip():
                yield content


@dataclass(slots=True)
class Part:
    """A stretch of a file: what of it are tasks, and what is refused."""

    tasks: list[bytes] = field(default_factory=list[bytes])
    """A task as JSON on each line, as uploads of batches have them."""
    refused: list[bytes] = field(default_factory=list[bytes])
    """Lines of the error file."""
    custom_ids: dict[int, str] = field(default_factory=dict[int, str])
    """Of those that are tasks, by their numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Translator:
    """Makes tasks of requests."""

    endpoint: str
    offers: Mapping[str, Offer | CorralError]
    """The models by the names that requests use; an error where there is none, or the key cannot use it."""
    rules: SubmissionRules
    make_id: Callable[[int], str]
    """Names the answer to a line that is refused."""

    def read_part(self, path: Path, index: int, *, accepted: frozenset[str] | None = None) -> Part:
        """Translate one part of a file; `accepted` has the names of its tasks where they were stored before."""
        part = Part()
        start = index * PART_LINES
        for number, content in islice(enumerate(read_contents(path), 1), start, start + PART_LINES):
            line = read_line(number, content)
            if accepted is not None and name_task(number) in accepted:
                part.custom_ids[number] = line.custom_id
                continue
            try:
                task = self._translate(line)
                if accepted is not None:
                    raise LineError("it was not accepted when the batch was taken", hint="send it again")
            except CorralError as error:
                part.refused.append(write_refusal_line(self.make_id(number), line.custom_id, error))
            else:
                part.custom_ids[number] = line.custom_id
                part.tasks.append(task)
        return part

    def refuse_part(self, path: Path, index: int, error: CorralError) -> Part:
        """Refuse a whole part for one reason."""
        part = Part()
        start = index * PART_LINES
        for number, content in islice(enumerate(read_contents(path), 1), start, start + PART_LINES):
            custom_id = read_line(number, content).custom_id
            part.refused.append(write_refusal_line(self.make_id(number), custom_id, error))
        return part

    def _translate(self, line: Line) -> bytes:
        """Return the task of a line. Raises: CorralError."""
        offer = self.offers[check_line(line, self.endpoint)]
        if isinstance(offer, CorralError):
            raise offer
        failure: CorralError | None = None
        for choice in offer.choices:
            try:
                inputs = make_inputs(self.endpoint, choice.engine, line.body)
                return self._check(line, {"engine": choice.engine, "model": choice.model, "inputs": inputs})
            except CorralError as error:
                failure = failure or error
        raise failure or LineError(f"no engine here has {offer.name!r}", where="model", hint="use another model")

    def _check(self, line: Line, fields: Mapping[str, Json]) -> bytes:
        """Return a task as it is submitted, once it is known to be accepted. Raises: CorralError."""
        name = name_task(line.number)
        content = json.dumps({"name": name, **fields}).encode()
        value = parse(content)
        try:
            spec = make_spec(BatchTaskAsked.model_validate(value), name)
        except ValidationError as error:
            raise LineError(f"the request cannot be used: {error.errors()[0]['msg']}", where="body") from error
        size = len(json.dumps(dict(spec.inputs)))
        problems = [_strip_place(problem, name) for problem in check_content(line.number, spec, size, self.rules)]
        if problems:
            what = "; ".join(problem.what for problem in problems)
            raise LineError(what, where=problems[0].where, hint=problems[0].hint)
        return content + b"\n"


def name_task(number: int) -> str:
    """Return the name of the task of a line."""
    return f"line-{number}"


def read_number(name: str) -> int:
    """Return the line of a task."""
    return int(name.removeprefix("line-"))


def _strip_place(problem: Problem, name: str) -> Problem:
    """Leave out of a problem's place what the client does not know."""
    where = (problem.where or "").partition(f"({name}).")[2].removeprefix("inputs.")
    return Problem(code=problem.code, what=problem.what, where=where or None, hint=problem.hint)
