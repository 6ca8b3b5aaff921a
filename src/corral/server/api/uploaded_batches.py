"""Batches whose tasks are in uploads, as lines of JSON: read in steps, in the memory of one step.

They are read twice. First each task is checked, and only its outline is kept: what it is named, needs and takes. When
all of them fit together and instances have what they need, they are read again, and each step is written into one
transaction. So nothing of a batch is seen before all of it is, and a server that is killed leaves nothing of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from corral.cluster.values import Cluster
from corral.engine_kinds import ENGINES
from corral.engines.surveying import Need, list_needs
from corral.errors import CorralError, Problem
from corral.requests import BatchFields, select
from corral.server.api.accepting import (
    fill_in_nodes,
    list_nodes,
    make_rules,
    make_spec,
    merge,
    prepare,
    require_rights,
)
from corral.server.api.errors import describe_invalid
from corral.server.api.instances import require_instances
from corral.server.api.requests import BatchTaskAsked, UploadedBatchAsked
from corral.server.api.state import ApiState
from corral.server.api.strict_json import MAX_PROBLEMS, parse
from corral.server.auth import Caller
from corral.tasks.artifacts import ArtifactMissingError
from corral.tasks.store.submitting import is_key_known
from corral.tasks.store.uploads import require_uploads
from corral.tasks.submission_checks import MAX_TASKS, SubmissionError, SubmissionRules, check_content
from corral.tasks.values import Accepted, Sha256, Submission, TaskSpec

STEP_TASKS, STEP_BYTES = 200, 4 * 2**20
"""Tasks of one step, and bytes of their lines; a step of either size is checked and written in about a second."""
LARGEST_LINE = 2 * 2**20
"""Bytes of one task; its inputs have 1 MiB at most."""
MAX_INPUTS_BYTES = 2 * 2**30
"""Inputs of all tasks as JSON, after what they have in common is written into each."""


@dataclass(slots=True)
class _Outlines:
    """The tasks of a batch as far as they are kept after the first reading."""

    tasks: list[TaskSpec] = field(default_factory=list[TaskSpec])
    """Without inputs and labels."""
    wanted: dict[str, dict[tuple[Need, ...], list[int]]] = field(
        default_factory=dict[str, "dict[tuple[Need, ...], list[int]]"]
    )
    """By engine, the lists of what tasks need on instances."""
    problems: list[Problem] = field(default_factory=list[Problem])
    lines: int = 0
    size: int = 0


async def accept_uploaded(api: ApiState, caller: Caller, asked: UploadedBatchAsked, key: str | None) -> Accepted:
    """Check a batch whose tasks are uploaded, and store it. The tasks of the answer are not listed.

    Raises: as `corral.server.api.accepting.accept`; UploadMissingError, ArtifactMissingError, ArtifactDamagedError.
    """
    batch = select(asked, BatchFields)
    outline = Submission(
        owner=caller.owner, key=caller.key, batch=batch, tasks=(), idempotency_key=key, digest=_compute_digest(asked)
    )
    if key is not None and await is_key_known(api.services.pool, outline):
        return await api.intake.submit_in_steps(outline, _list_nothing)
    with api.services.keys.enter(caller.key, caller.limits):
        return await _store(api, caller, asked, outline)


async def _store(api: ApiState, caller: Caller, asked: UploadedBatchAsked, outline: Submission) -> Accepted:
    cluster = api.services.cluster
    digests = [Sha256(digest) for digest in asked.tasks_in]
    await require_uploads(api.services.pool, caller.owner, digests)
    async with api.uploaded_batches:
        paths = [await asyncio.to_thread(api.services.artifacts.check, digest) for digest in digests]
        rules = make_rules(api, list_nodes(api))
        outlines = await _outline(paths, asked.defaults, rules, cluster)
        outline = replace(outline, tasks=tuple(outlines.tasks))
        require_rights(caller, outline)
        outline = await asyncio.to_thread(_prepare, outline, outlines, rules.without_engines(), cluster)
        await require_instances(api.services, outline, outlines.wanted)
        return await api.intake.submit_in_steps(outline, lambda: _read_again(paths, asked.defaults, cluster))


async def _outline(
    paths: Sequence[Path], defaults: BatchTaskAsked, rules: SubmissionRules, cluster: Cluster
) -> _Outlines:
    outlines = _Outlines()
    steps = _split(enumerate(_read_lines(paths)))
    while step := await asyncio.to_thread(next, steps, None):
        await asyncio.to_thread(_check_step, step, outlines, defaults, rules)
        if len(outlines.problems) >= MAX_PROBLEMS:
            raise SubmissionError(outlines.problems[:MAX_PROBLEMS])
    return outlines


def _prepare(outline: Submission, outlines: _Outlines, rules: SubmissionRules, cluster: Cluster) -> Submission:
    """Check how the tasks fit together. Raises: SubmissionError with these problems, and those of single tasks."""
    if len(outlines.tasks) < outlines.lines:  # a line that is not a task can be one that others need
        raise SubmissionError(outlines.problems)
    try:
        prepared = prepare(outline, rules, cluster)
    except SubmissionError as error:
        raise SubmissionError([*outlines.problems, *error.problems][:MAX_PROBLEMS]) from error
    if outlines.problems:
        raise SubmissionError(outlines.problems)
    return prepared


def _check_step(
    step: Sequence[tuple[int, bytes]], outlines: _Outlines, defaults: BatchTaskAsked, rules: SubmissionRules
) -> None:
    for index, line in step:
        outlines.lines += 1
        task = _read_task(index, line, defaults, outlines.problems)
        if task is None:
            continue
        size = len(json.dumps(dict(task.inputs)))
        outlines.size += size
        if outlines.size > MAX_INPUTS_BYTES:
            what = f"the inputs of all tasks, defaults included, have more than {MAX_INPUTS_BYTES} bytes"
            raise SubmissionError(
                [Problem(code="submission.too_large", what=what, where="tasks", hint="submit several batches")]
            )
        outlines.problems += check_content(index, task, size, rules)
        kind = ENGINES.get(task.engine)
        if kind is not None and kind.needs is not None:
            wanted = outlines.wanted.setdefault(task.engine, {})
            wanted.setdefault(list_needs(kind, task.inputs), []).append(index)
        outlines.tasks.append(task.model_copy(update={"inputs": {}, "labels": {}}))


def _read_task(index: int, line: bytes, defaults: BatchTaskAsked, problems: list[Problem]) -> TaskSpec | None:
    """Read one line; None with problems noted when it is not a task."""
    try:
        value = parse(line)
    except CorralError as error:
        problems += [_place(index, problem) for problem in error.problems]
        return None
    try:
        return _make_task(index, BatchTaskAsked.model_validate(value), defaults)
    except ValidationError as error:
        listed = ({**details, "loc": ("body", *details["loc"])} for details in error.errors(include_url=False))
        problems += [_place(index, describe_invalid(details, value)) for details in listed]
        return None


def _make_task(index: int, asked: BatchTaskAsked, defaults: BatchTaskAsked) -> TaskSpec:
    merged = merge(defaults, asked)
    return make_spec(merged, f"{merged.engine or 'task'}-{index + 1}")


def _place(index: int, problem: Problem) -> Problem:
    separator = ", " if (problem.where or "").startswith("line ") else "."
    return replace(problem, where=f"tasks[{index}]" + (f"{separator}{problem.where}" if problem.where else ""))


async def _read_again(
    paths: Sequence[Path], defaults: BatchTaskAsked, cluster: Cluster
) -> AsyncIterator[Sequence[TaskSpec]]:
    """Read the tasks, which were checked, as they are stored."""
    steps = _split(enumerate(_read_lines(paths)))
    while step := await asyncio.to_thread(next, steps, None):
        yield await asyncio.to_thread(_make_step, step, defaults, cluster)


def _make_step(step: Sequence[tuple[int, bytes]], defaults: BatchTaskAsked, cluster: Cluster) -> list[TaskSpec]:
    asked = ((index, BatchTaskAsked.model_validate(json.loads(line))) for index, line in step)
    return [fill_in_nodes(_make_task(index, task, defaults), cluster) for index, task in asked]


async def _list_nothing() -> AsyncIterator[Sequence[TaskSpec]]:
    for step in ():
        yield step


def _read_lines(paths: Sequence[Path]) -> Iterator[bytes]:
    """Yield the tasks of the files, one more at most than a batch can have."""
    return islice(_read_all_lines(paths), MAX_TASKS + 1)


def _read_all_lines(paths: Sequence[Path]) -> Iterator[bytes]:
    for path in paths:
        with _open(path) as file:
            while line := file.readline(LARGEST_LINE + 1):
                if len(line) > LARGEST_LINE:
                    what = f"a line has more than {LARGEST_LINE} bytes"
                    hint = "write each task on a line of its own"
                    raise SubmissionError(
                        [Problem(code="submission.inputs_too_large", what=what, where=path.name, hint=hint)]
                    )
                if line.strip():
                    yield line


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise ArtifactMissingError(
            f"the upload {path.name} was deleted while the batch was read; nothing of it is stored",
            hint="upload it again, then submit the batch again",
        ) from error


def _split(lines: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Put lines together to steps."""
    step, size = list[tuple[int, bytes]](), 0
    for index, line in lines:
        step.append((index, line))
        size += len(line)
        if len(step) >= STEP_TASKS or size >= STEP_BYTES:
            yield step
            step, size = [], 0
    if step:
        yield step


def _compute_digest(asked: UploadedBatchAsked) -> bytes:
    """Return the digest of what the key stands for: the batch, its defaults and the content of its files."""
    content: Mapping[str, object] = asked.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()
