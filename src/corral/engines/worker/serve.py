"""The life of a worker: take the pipes, load the engine, do one job after the other, end with the server.

The main thread works and can block in native code; a second thread listens to the server, so that a cancel and the
server's death are noticed meanwhile. Linux ends a worker with its parent and makes it adopt orphans; on
other systems the end of its standard input alone ends it (`corral.processes.kernel`).

Belongs here: the worker's end of the pipes, the loop, the two threads, and what becomes of exceptions.
Does not belong here: any engine.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from corral.engines.messages import MAX_LINE_BYTES, Message, WireError, decode, encode
from corral.engines.worker.job import Answer, Cancelled, Job, Talk, WorkerEngine, WorkerSettings
from corral.files import NO_ROOM
from corral.processes.kernel import adopt_orphans, be_killed_before_the_server, die_with_parent
from corral.work import EngineError, EngineUnavailableError, FailureScope, OutputFile


def serve(open_engine: Callable[[WorkerSettings], WorkerEngine]) -> None:
    """Run a worker until the server has gone; does not return before."""
    channel = Channel.take_standard_streams()
    start = channel.receive()
    if start is None:
        return
    be_killed_before_the_server()
    engine = _open(open_engine, start, channel)
    if engine is None:
        return
    _Worker(channel, engine).work()


def _open(
    open_engine: Callable[[WorkerSettings], WorkerEngine], start: Message, channel: Channel
) -> WorkerEngine | None:
    settings = WorkerSettings(
        gpu=start["gpu"], threads=start["threads"], options=start["options"], keep=Path(start["keep"])
    )
    try:
        engine = open_engine(settings)
    except ImportError as error:
        unavailable = EngineUnavailableError(
            f"a library of the engine cannot be imported: {error}", hint=start.get("hint")
        )
        channel.send(_make_failure("", unavailable))
        return None
    _tie_to_parent(engine, start["parent"])
    channel.send({"type": "ready"})
    return engine


def _tie_to_parent(engine: WorkerEngine, parent: int) -> None:
    """A worker with children must outlive the server for the moment that ending them takes; others die with it."""
    if not engine.has_children:
        die_with_parent(parent)
        return
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda _number, _frame: _leave(engine))


def _leave(engine: WorkerEngine) -> NoReturn:
    engine.stop()
    os._exit(0)


class _Worker:
    def __init__(self, channel: Channel, engine: WorkerEngine) -> None:
        self._channel = channel
        self._engine = engine
        self._jobs: queue.SimpleQueue[tuple[Job, Talk]] = queue.SimpleQueue()
        self._talks: dict[str, Talk] = {}

    def work(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            job, talk = self._jobs.get()
            outcome = self._run_job(job, talk)
            self._talks.pop(job.attempt, None)
            self._channel.send(outcome)

    def _listen(self) -> None:
        try:
            while message := self._channel.receive():
                self._handle(message)
        except WireError:
            traceback.print_exc()
        finally:
            _leave(self._engine)

    def _handle(self, message: Message) -> None:
        match message["type"]:
            case "run":
                job = Job.read(message)
                self._talks[job.attempt] = talk = Talk(job.attempt, self._channel.send)
                self._jobs.put((job, talk))
            case "cancel":
                if (talk := self._talks.get(message["attempt"])) is not None:
                    talk.cancel()
            case kind:
                raise WireError(f"an unexpected message: {kind!r}")

    def _run_job(self, job: Job, talk: Talk) -> Message:
        try:
            talk.check()
            return _make_result(job.attempt, self._engine.run(job, talk))
        except Cancelled:
            return {"type": "cancelled", "attempt": job.attempt}
        except EngineError as error:
            return _make_failure(job.attempt, error)
        except OSError as error:
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}"
            is_full = error.errno in NO_ROOM  # the machine's trouble: another attempt can work, later or elsewhere
            return _make_failure(job.attempt, EngineUnavailableError(text) if is_full else EngineError(text))
        except Exception as error:  # noqa: BLE001 - the boundary of an attempt: whatever a library raises ends it, not us
            traceback.print_exc()
            return _make_failure(job.attempt, EngineError(f"{type(error).__name__}: {error}"))


def _make_result(attempt: str, answer: Answer) -> Message:
    made = {"files": _list_files(answer.files), "values": dict(answer.values)}
    registers = {} if answer.registers is None else {"registers": str(answer.registers)}
    return {"type": "result", "attempt": attempt, **made, **registers}


def _make_failure(attempt: str, error: EngineError) -> Message:
    scope: FailureScope = error.scope
    said = {"what": error.what[:4000], "hint": error.hint, "files": _list_files(error.files)}
    return {"type": "error", "attempt": attempt, "scope": scope.value, **said}


def _list_files(files: Iterable[OutputFile]) -> list[Message]:
    return [{"name": file.name, "path": str(file.path), "media_type": file.media_type} for file in files]


class Channel:
    """Messages to and from the server; sending is safe from any thread."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink
        self._lock = threading.Lock()

    @classmethod
    def take_standard_streams(cls) -> Channel:
        """Move the pipes away from descriptors 0 and 1: libraries print to the log, and read nothing.

        Must be called before any engine's library is imported; children do not inherit the moved descriptors.
        """
        source, sink = os.dup(0), os.dup(1)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return cls(os.fdopen(source, "rb"), os.fdopen(sink, "wb", buffering=0))

    def send(self, message: Mapping[str, Any]) -> None:  # Any: a JSON object
        """Send one message. Raises: WireError when it cannot be encoded; ends the process once the server is gone."""
        line = memoryview(encode(message))
        with self._lock:
            try:
                while line:
                    line = line[self._sink.write(line) or 0 :]
            except BrokenPipeError:
                os._exit(0)

    def receive(self) -> Message | None:
        """Wait for the next message; None when the server has gone. Raises: WireError."""
        line = self._source.readline(MAX_LINE_BYTES + 1)
        return decode(line) if line else None
