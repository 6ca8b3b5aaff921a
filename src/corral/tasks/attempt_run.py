"""Runs one attempt: its folder, its input files, its engine under a deadline, its outputs into the store.

Whatever the engine does (fail, hang, ignore a cancel, write outside its folder), the attempt ends with one `Ended`
value. This is the attempt's boundary: no exception of an engine goes further. The deadline and a stop count until the
last output is stored; files that were stored before one are recorded nowhere, and `ArtifactStore.sweep` removes them.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import cast

import structlog

from corral.errors import CorralError, Problem
from corral.files import NO_ROOM
from corral.slots.values import WaitsForTurn
from corral.tasks.artifacts import ArtifactStore, Content, DiskFullError, translate_disk_error
from corral.tasks.scratch import prepare
from corral.tasks.values import StoredFile
from corral.work import Engine, EngineError, FailureScope, Json, OutputFile, Produced, Reporter, TaskInvalidError, Work

MAX_VALUES_BYTES = 1024 * 1024
_NO_MEMORY = re.compile(
    r"out.?of.?(device.?)?memory|insufficient memory|(failed|unable) to allocate|cudaMalloc failed|ALLOC_FAILED"
    r"|Allocation on device",
    re.IGNORECASE,
)
"""The words of CUDA and CTranslate2 (`out of memory`), cuBLAS (`CUBLAS_STATUS_ALLOC_FAILED`), PyTorch
(`OutOfMemoryError`), ComfyUI (`Allocation on device`), ggml (`failed to allocate`, `cudaMalloc failed`), Vulkan
(`ErrorOutOfDeviceMemory`) and Ollama (`more system memory` is the computer's, and is not among them)."""
SLOT_RESTS = frozenset({FailureScope.SLOT, FailureScope.WAIT})
"""Failures after which a slot takes nothing more until a check of its engine."""
MOST_PROBLEMS = 20
"""Of one failure, that are kept in full: a person reads them in a terminal."""

log = structlog.get_logger()


class StopReason(StrEnum):
    """Why a running attempt is stopped from outside."""

    CANCELLED = "cancelled"
    """A user cancelled the task."""
    RELEASED = "released"
    """The server stops; the task goes back to the queue."""
    CLOSED = "closed"
    """The hours of its slot or its queue are over, and interrupt what still runs; the task goes back to the queue."""
    PREEMPTED = "preempted"
    """A guest goes first (`scheduling.preempt`); the task goes back to the queue."""
    ENGINE_KILLED = "engine_killed"
    """Its engine was killed for another attempt on the slot; the task goes back to the queue."""
    WITHDRAWN = "withdrawn"
    """Its device is not the queue's any more: it was given to other programs, or is lost."""
    LOST = "lost"
    """The lease could not be kept: another attempt can own the task, so nothing is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt failed, and what that means for the next."""

    problem: Problem
    scope: FailureScope
    avoid_slot: bool = False
    out_of_memory: bool = False
    """Whether a GPU's memory was missing, in the words of its library."""
    cut_off: bool = False
    """Whether the attempt was stopped before its engine was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an attempt ended: exactly one of `values`, `failure` and `stopped` is set."""

    files: tuple[StoredFile, ...] = ()
    """Its outputs; of a failed attempt, the log that shows why."""
    values: dict[str, Json] | None = None
    failure: Failure | None = None
    stopped: StopReason | None = None

    @property
    def was_cut_off(self) -> bool:
        """Whether it was stopped while its slot goes on: then the engine can still be busy with what is left of it."""
        is_stopped = self.stopped is not None and self.stopped is not StopReason.RELEASED
        return is_stopped or (self.failure is not None and self.failure.cut_off)


@dataclass(slots=True)
class StopSignal:
    """Asks a running attempt to stop; the first reason counts."""

    reason: StopReason | None = None
    problem: Problem | None = None
    """Why its device was withdrawn."""
    _event: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, reason: StopReason, problem: Problem | None = None) -> None:
        """Ask for the stop."""
        if self.reason is None:
            self.reason, self.problem = reason, problem
        self._event.set()

    async def wait(self) -> None:
        """Return once a stop was asked for."""
        await self._event.wait()


@dataclass(frozen=True, slots=True)
class Order:
    """The work, where its progress is reported, and what can stop it."""

    work: Work
    report: Reporter
    stop: StopSignal
    stop_grace_s: float
    """How long a cancelled engine can take to stop before it is killed."""
    before_kill: Callable[[], None] = lambda: None
    """Called just before that, for what else the engine does ends with it."""


async def run_attempt(engine: Engine, order: Order, artifacts: ArtifactStore) -> Ended:
    """Run the work to its end, its deadline or a stop, and return how it ended; never raises an engine's error."""
    work = order.work
    deadline = asyncio.get_running_loop().time() + work.timeout_s
    try:
        prepare(work.scratch)
        produced = await _run_engine(engine, order)
        deadline += _count_waited(engine, work)
        if isinstance(produced, Ended):
            return produced
        _check_size(produced)
        files = await _keep(produced.files, order, artifacts, deadline)
        return files if isinstance(files, Ended) else Ended(files=files, values=clean_json(produced.values))
    except EngineError as error:
        return await _fail_in_engine(error, order, artifacts, deadline)
    except OSError as error:
        return _fail_on_disk(error, work)
    except CorralError as error:
        return Ended(failure=make_failure(error))
    except Exception as error:  # the attempt's boundary: an engine's bug is this attempt's failure, not the server's
        log.exception("engine_raised", task=work.task, engine=work.engine)
        return _fail(f"engine {work.engine} raised {type(error).__name__}: {error}", code="engine.bug")


async def _run_engine(engine: Engine, order: Order) -> Produced | Ended:
    work, stop = order.work, order.stop
    running = asyncio.create_task(engine.run(work, order.report), name=f"task-{work.task}")
    stopping = asyncio.create_task(stop.wait())
    try:
        clock = asyncio.get_running_loop().time
        ends_at = clock() + work.timeout_s
        while (left_s := ends_at + _count_waited(engine, work) - clock()) > 0:
            done, _ = await asyncio.wait({running, stopping}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if done:
                break
        if running.cancelled():  # by something inside the engine: no stop was asked for
            raise EngineError(f"engine {work.engine} stopped by itself")
        if running.done():
            return running.result()
        await _stop(running, engine, order)
        if stop.reason is not None:
            return Ended(stopped=stop.reason)
        return Ended(failure=_describe_timeout(work))
    finally:
        stopping.cancel()
        if not running.done():  # this coroutine itself was cancelled
            running.cancel()


def _count_waited(engine: Engine, work: Work) -> float:
    """Return the seconds of an attempt so far that do not count, since another program kept it waiting."""
    return engine.count_waited(work.attempt) if isinstance(engine, WaitsForTurn) else 0.0


async def _stop(running: asyncio.Task[Produced], engine: Engine, order: Order) -> None:
    running.cancel()
    _, pending = await asyncio.wait({running}, timeout=order.stop_grace_s)
    if pending:
        order.before_kill()
        await engine.kill()
        await asyncio.wait({running}, timeout=order.stop_grace_s)
    if running.done() and not running.cancelled():
        running.exception()  # it was asked to stop: how it ended then does not matter


def _describe_timeout(work: Work) -> Failure:
    problem = Problem(
        code="attempt.timeout",
        what=f"engine {work.engine} did not finish within {work.timeout_s:g} s",
        where=f"slot {work.slots[0]}" if work.slots else None,
        hint="raise the task's `timeout` if the work is that long",
    )
    return Failure(problem=problem, scope=FailureScope.ATTEMPT, avoid_slot=True, cut_off=True)


def make_failure(error: CorralError) -> Failure:
    """Return what an error means for the next attempt."""
    if isinstance(error, EngineError):
        scope = error.scope
    else:  # a full disk is this server's trouble: the attempt is lost, not spent
        scope = FailureScope.SLOT if isinstance(error, DiskFullError) else FailureScope.ATTEMPT
    problem = clean_problem(_join_problems(error))
    return Failure(
        problem=problem,
        scope=scope,
        avoid_slot=scope is FailureScope.SLOT,
        out_of_memory=_NO_MEMORY.search(problem.what) is not None,
    )


def _join_problems(error: CorralError) -> Problem:
    """Return an error's problem, or one that has them all with their places: a task keeps a single one."""
    problems = error.problems
    if len(problems) == 1:
        return problems[0]
    listed = [f"{problem.what} ({problem.where})" if problem.where else problem.what for problem in problems]
    if len(listed) > MOST_PROBLEMS:
        listed[MOST_PROBLEMS:] = [f"and {len(listed) - MOST_PROBLEMS} more"]
    hints = dict.fromkeys(problem.hint for problem in problems[:MOST_PROBLEMS] if problem.hint)
    return Problem(
        code=error.code, what=f"{len(problems)} problems: {'; '.join(listed)}", hint="; ".join(hints) or None
    )


def _fail(what: str, *, code: str) -> Ended:
    problem = clean_problem(Problem(code=code, what=what))
    return Ended(failure=Failure(problem=problem, scope=FailureScope.ATTEMPT))


async def _fail_in_engine(error: EngineError, order: Order, artifacts: ArtifactStore, deadline: float) -> Ended:
    failure = make_failure(_find_disk_error(error, order.work) or error)
    try:
        files = await _keep(error.files, order, artifacts, deadline)
    except (CorralError, OSError) as second:
        log.warning("log_not_kept", task=order.work.task, error=str(second))
        return Ended(failure=failure)
    if isinstance(files, Ended):
        return files if files.stopped is not None else Ended(failure=failure)
    return Ended(files=files, failure=failure)


def _find_disk_error(error: EngineError, work: Work) -> DiskFullError | None:
    """Return that the disk was full, where an engine's error came of it."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in NO_ROOM:
        translated = translate_disk_error(cause, Path(cause.filename) if cause.filename else work.scratch)
        return translated if isinstance(translated, DiskFullError) else None
    return None


def _fail_on_disk(error: OSError, work: Work) -> Ended:
    cause = translate_disk_error(error, Path(error.filename) if error.filename else work.scratch)
    if isinstance(cause, DiskFullError):
        return Ended(failure=make_failure(cause))
    return _fail(f"the attempt could not make its folder or files: {error}", code="attempt.io_error")


async def _keep(
    files: tuple[OutputFile, ...], order: Order, artifacts: ArtifactStore, deadline: float
) -> tuple[StoredFile, ...] | Ended:
    """Store the files; where a stop or the deadline comes first, return how the attempt ends."""
    if not files:
        return ()
    work, stop, cut_off = order.work, order.stop, threading.Event()
    storing = asyncio.create_task(asyncio.to_thread(_store, files, work.scratch.resolve(), artifacts, cut_off))
    stopping = asyncio.create_task(stop.wait())
    try:
        left_s = max(0.0, deadline - asyncio.get_running_loop().time())
        await asyncio.wait({storing, stopping}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        cut_off.set()
        await asyncio.wait({storing})  # it ends within a MiB: until then it has files of the folder in its hands
        try:
            return storing.result()
        except _CutOffError as error:
            return Ended(stopped=stop.reason) if stop.reason else Ended(failure=_describe_late(work, files, error))
    finally:
        cut_off.set()  # this coroutine itself was cancelled
        stopping.cancel()


class _CutOffError(Exception):
    """Storing was cut off after `stored` files."""

    def __init__(self, stored: int) -> None:
        self.stored = stored


def _store(
    files: tuple[OutputFile, ...], root: Path, artifacts: ArtifactStore, cut_off: threading.Event
) -> tuple[StoredFile, ...]:
    """Raises: _CutOffError soon after `cut_off` is set."""
    names: set[str] = set()
    kept: list[StoredFile] = []
    contents: list[Content] = []

    def go_on() -> None:
        if cut_off.is_set():
            raise _CutOffError(len(kept))

    for file in files:
        go_on()
        _check_output(file, root, names)
        content = artifacts.adopt(file.path, go_on=go_on)
        names.add(file.name)
        media_type = clean_text(file.media_type)
        kept.append(StoredFile(name=file.name, sha256=content.sha256, size=content.size, media_type=media_type))
        contents.append(content)
    artifacts.settle(contents)
    return tuple(kept)


def _describe_late(work: Work, files: Sequence[OutputFile], error: _CutOffError) -> Failure:
    problem = Problem(
        code="attempt.timeout",
        what=f"engine {work.engine} finished, but only {error.stored} of its {len(files)} outputs were stored within "
        f"{work.timeout_s:g} s",
        hint="raise the task's `timeout`, or make fewer outputs, such as one archive",
    )
    return Failure(problem=problem, scope=FailureScope.ATTEMPT)


def _check_output(file: OutputFile, root: Path, names: set[str]) -> None:
    if file.name in names or Path(file.name).name != file.name or file.name in (".", ".."):
        raise EngineError(f"the engine named an output {file.name!r}, which is not a unique plain file name")
    if clean_text(file.name) != file.name:
        raise EngineError(f"the engine named an output {file.name!r}, which is not valid text")
    if file.path.is_symlink() or not file.path.is_file() or not file.path.resolve().is_relative_to(root):
        raise EngineError(f"the output {file.name!r} is not a file in the attempt's folder")


def _check_size(produced: Produced) -> None:
    size = len(json.dumps(dict(produced.values)))
    if size > MAX_VALUES_BYTES:
        raise TaskInvalidError(
            f"the result has {size} bytes, more than {MAX_VALUES_BYTES}", hint="ask for less, or for a file"
        )


# PostgreSQL takes no NUL, no lone surrogate (Python makes them of file names that are not UTF-8) and, in JSON, no NaN
# and no infinity. One such value would fail the transaction that carries it, and the outcomes of all others, for ever.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Return the text with a replacement character for each that cannot be stored."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def clean_json(value: Json) -> Json:
    """Return the value with its text storable, and null for what is not a number."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        items = cast("Mapping[object, Json]", value).items()  # JSON: the keys are text
        return {clean_text(str(key)): clean_json(member) for key, member in items}
    if isinstance(value, Sequence):
        return [clean_json(member) for member in cast("Sequence[Json]", value)]
    return value


def clean_problem(problem: Problem) -> Problem:
    """Return the problem with its text storable."""
    return Problem(
        code=problem.code,
        what=clean_text(problem.what),
        where=None if problem.where is None else clean_text(problem.where),
        hint=None if problem.hint is None else clean_text(problem.hint),
    )
