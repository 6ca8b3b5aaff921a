"""A local engine: `corral.work.Engine` in front of one worker process.

The worker starts with the first task and stays warm. Whatever happens to it is one failed attempt; the next one gets a
new worker. Memory is released by ending the worker: a CUDA context alone takes hundreds of MiB that no library gives
back while its process lives, and the next run has to load its model anyway.

Belongs here: the life of the worker across attempts, and translating its messages.
Does not belong here: pipes and signals (`worker_process`), what an engine does (`corral.engines.worker`).
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corral.engine_facts import EngineKind
from corral.engines.inputs import load_inputs, read_task_inputs
from corral.engines.local.registering import ModelShelf, Registration, prepare_registration
from corral.engines.local.worker_process import (
    WorkerGoneError,
    WorkerProcess,
    raise_failure,
    read_produced,
    read_residents,
)
from corral.engines.machine_share import locate_model
from corral.engines.messages import Message
from corral.processes.bounded_log import BoundedLog
from corral.work import EngineError, EngineUnavailableError, Produced, Reporter, Resident, TaskInvalidError, Work

START_TIMEOUT_S = 120.0
"""Importing an engine's libraries from a cold disk; loading a model is part of a run, not of the start."""
CANCEL_GRACE_S = 2.0
"""The time that a worker has to obey a cancel before it is killed; a token or a segment takes far less."""
CLOSE_GRACE_S = 2.0
_STARTS_BEFORE_GIVING_UP = 2
_UNUSABLE = (WorkerGoneError, LookupError, TypeError, ValueError)
"""The worker is gone, or sent a message that is not what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start a worker."""

    command: Callable[[], tuple[str, ...]]
    """Called for each start, and to see whether one is possible. Raises: EngineUnavailableError."""
    environment: Callable[[tuple[str, ...]], Mapping[str, str]]
    """Called for each start with the GPUs of the attempt: every worker has a mark of its own."""
    settings: Mapping[str, Any]  # Any: JSON, read by the worker
    log: BoundedLog


class LocalEngine:
    """One engine on one slot of this machine."""

    def __init__(
        self, kind: EngineKind, launch: Launch, locate: Callable[[str], Path], shelf: ModelShelf | None = None
    ) -> None:
        self._kind = kind
        self._shelf = shelf
        self._launch = launch
        self._locate = locate
        self._turn = asyncio.Lock()
        self._worker: WorkerProcess | None = None
        self._devices: tuple[str, ...] = ()
        self._residents: tuple[Resident, ...] = ()
        self._failed_starts = 0
        self._closed = False

    @property
    def name(self) -> str:
        return self._kind.name

    async def run(self, work: Work, report: Reporter) -> Produced:
        order = await self._make_order(work)
        registration = await self._prepare_registration(work)
        async with self._turn:
            worker = await self._warm_worker(work.devices)
            try:
                await worker.send(order)
                return await self._follow(worker, work, report, registration)
            except asyncio.CancelledError:
                await self._stop(worker, str(work.attempt))
                raise
            except _UNUSABLE as error:
                await self._discard(worker)
                raise self._make_failure(worker, error) from error

    async def resident(self) -> tuple[Resident, ...]:
        return self._residents if self._worker is not None and self._worker.alive else ()

    async def check(self) -> None:
        """Return when the engine is installed; after failed starts, only when its worker starts again."""
        self._launch.command()
        if self._failed_starts == 0 or self._turn.locked():
            return
        async with self._turn:
            try:
                await self._warm_worker(())
            except EngineUnavailableError:
                raise
            except EngineError as error:
                raise EngineUnavailableError(error.what, where=error.where, hint=error.hint) from error

    async def release(self) -> None:
        async with self._turn:
            await self._end(CLOSE_GRACE_S)

    async def kill(self) -> None:
        if self._worker is not None:
            self._worker.kill()
        await self._end(0.0)

    async def close(self) -> None:
        self._closed = True
        await self._end(CLOSE_GRACE_S)

    async def _end(self, grace_s: float) -> None:
        if self._worker is not None:
            await self._worker.end(grace_s=grace_s)
            self._residents = ()

    async def _make_order(self, work: Work) -> Message:
        """Everything that the worker must know, checked. Raises: TaskInvalidError."""
        inputs = read_task_inputs(load_inputs(self._kind), work.inputs)
        _check_files(self._kind, work)
        path = await self._locate_model(work.model)
        others = {name: self._launch.settings["options"][name] for name in self._kind.model_options}
        return {
            "type": "run",
            "attempt": str(work.attempt),
            "model": work.model,
            "model_path": str(path) if path is not None else None,
            "inputs": inputs.model_dump(mode="json"),
            "files": {name: str(path) for name, path in work.files.items()},
            "models": {name: str(await self._find_model(model)) for name, model in others.items()},
            "scratch": str(work.scratch),
            "timeout_s": work.timeout_s,
            "task": work.task,
            "slots": list(work.slots),
        }

    async def _locate_model(self, model: str | None) -> Path | None:
        return await self._find_model(model) if self._kind.needs_model else None

    async def _find_model(self, model: str | None) -> Path:
        return await asyncio.to_thread(locate_model, self._locate, self.name, model)

    async def _warm_worker(self, devices: tuple[str, ...]) -> WorkerProcess:
        """Return a running worker that sees these GPUs (its slot's own when none are named)."""
        if self._closed:
            raise EngineUnavailableError(f"the {self.name} engine is closed", hint="start the server again")
        if self._worker is not None and self._worker.alive and self._devices == devices:
            return self._worker
        if self._worker is not None:
            await self._discard(self._worker)
        command = self._launch.command()
        try:
            worker = await self._start(command, devices)
        except EngineError:
            self._failed_starts += 1
            raise
        self._failed_starts = 0
        return worker

    async def _start(self, command: tuple[str, ...], devices: tuple[str, ...]) -> WorkerProcess:
        """Start a worker and wait until it is ready; `kill` and `close` reach it meanwhile."""
        launch = self._launch
        try:
            worker = await WorkerProcess.start(command, launch.environment(devices), launch.log)
        except OSError as error:
            raise EngineUnavailableError(f"the {self.name} worker cannot be started: {error}") from error
        self._worker, self._devices = worker, devices
        try:
            if self._closed:  # while the process was being made
                raise EngineUnavailableError(f"the {self.name} engine is closed", hint="start the server again")
            async with asyncio.timeout(START_TIMEOUT_S):
                await worker.send({"type": "start", "parent": os.getpid(), **launch.settings})
                message = await worker.receive()
            if message.get("type") != "ready":
                raise_failure(message)
        except (WorkerGoneError, TimeoutError) as error:
            await worker.end()
            raise self._make_start_failure(worker) from error
        except BaseException:
            worker.kill()
            await worker.end()
            raise
        return worker

    def _make_start_failure(self, worker: WorkerProcess) -> EngineError:
        what = f"the {self.name} worker did not start: {worker.describe_end()}"
        if self._failed_starts + 1 < _STARTS_BEFORE_GIVING_UP:
            return EngineError(what)
        return EngineUnavailableError(what, hint="run `corral doctor`, then look into the worker's log")

    async def _prepare_registration(self, work: Work) -> Registration | None:
        """Return how the result becomes a model, where the task asks for it. Raises: TaskInvalidError."""
        name = work.inputs.get(self._kind.registers) if self._kind.registers else None
        if name is None:
            return None
        assert self._shelf is not None, "models are registered by a server, which has a store of them"
        return await prepare_registration(self._shelf, str(name), f"task {work.task}")

    async def _follow(
        self, worker: WorkerProcess, work: Work, report: Reporter, registration: Registration | None
    ) -> Produced:
        while True:
            message = await worker.receive()
            if message.get("type") == "resident":
                self._residents = read_residents(message)
            elif message.get("attempt") == str(work.attempt):
                match message.get("type"):
                    case "progress":
                        report.progress(message["fraction"], message["note"])
                    case "preview":
                        report.preview(message["media_type"], b64decode(message["data"]))
                    case "result":
                        produced = await asyncio.to_thread(read_produced, message, work.scratch)
                        if registration is not None:
                            await registration.carry_out(Path(message["registers"]))
                        return produced
                    case "error":
                        raise_failure(message, work.scratch)
                    case kind:
                        raise WorkerGoneError(f"it sent an unexpected message: {kind!r}")

    async def _stop(self, worker: WorkerProcess, attempt: str) -> None:
        """Ask the worker to stop; kill it when it does not within the grace, or when we are cancelled again."""
        obeyed = False
        try:
            async with asyncio.timeout(CANCEL_GRACE_S):
                await worker.send({"type": "cancel", "attempt": attempt})
                await self._wait_until_stopped(worker, attempt)
                obeyed = True
        except (TimeoutError, WorkerGoneError):
            pass
        finally:
            if not obeyed:
                worker.kill()
                await self._discard(worker)

    async def _wait_until_stopped(self, worker: WorkerProcess, attempt: str) -> None:
        while True:
            message = await worker.receive()
            if message.get("type") == "resident":
                self._residents = read_residents(message)
            elif message.get("attempt") == attempt and message.get("type") in ("cancelled", "result", "error"):
                return

    async def _discard(self, worker: WorkerProcess) -> None:
        await worker.end()
        if self._worker is worker:
            self._worker = None
            self._residents = ()

    def _make_failure(self, worker: WorkerProcess, cause: Exception) -> EngineError:
        return EngineError(f"the {self.name} worker failed ({cause}): {worker.describe_end()}")


def _check_files(kind: EngineKind, work: Work) -> None:
    count, rule = len(work.files), kind.files
    if count < rule.minimum or (rule.maximum is not None and count > rule.maximum):
        raise TaskInvalidError(f"a {kind.name} task takes {rule.summary}, and this one has {count}")
