"""The values that a worker engine receives and returns.

Belongs here: values, and the talk between a running job and the server.
Does not belong here: engines, pipes.
"""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from corral.engines.messages import Message
from corral.units import Bytes
from corral.work import OutputFile

_PREVIEW_INTERVAL_S = 0.1
_PROGRESS_INTERVAL_S = 0.05
"""More often is more than a person can see, and would cost the server more than it costs the worker."""


class Cancelled(BaseException):
    """The server asked to stop this job; like asyncio's, it is not an error and passes `except Exception`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The settings that a worker has before its first job."""

    gpu: bool
    threads: int
    options: Mapping[str, Any]  # Any: JSON, checked by the server
    keep: Path
    """A folder of the engine for what outlives attempts; made by the first that needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt; inputs are checked and have their defaults filled in."""

    attempt: str
    model: str
    """Empty where the engine takes none."""
    model_path: Path
    inputs: Mapping[str, Any]  # Any: JSON, checked by the server
    files: Mapping[str, Path]
    models: Mapping[str, Path]
    """The models that options of the engine name, by option."""
    scratch: Path
    timeout_s: float
    task: int
    slots: tuple[str, ...]
    """The slots that the attempt holds: several for a task that asked for several GPUs."""

    @classmethod
    def read(cls, message: Message) -> Job:
        """Read a `run` message."""
        return cls(
            attempt=message["attempt"],
            model=message["model"] or "",
            model_path=Path(message["model_path"] or ""),
            inputs=message["inputs"],
            files={name: Path(path) for name, path in message["files"].items()},
            models={option: Path(path) for option, path in message["models"].items()},
            scratch=Path(message["scratch"]),
            timeout_s=message["timeout_s"],
            task=message["task"],
            slots=tuple(message["slots"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of a job."""

    files: tuple[OutputFile, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])  # Any: JSON
    registers: Path | None = None
    """A file in the attempt's folder that is a model, for a task that asked for its registration."""


class Talk:
    """A running job's messages to the server, and the server's to it."""

    def __init__(self, attempt: str, send: Callable[[Message], None]) -> None:
        self._attempt = attempt
        self._send = send
        self._cancelled = threading.Event()
        self._on_cancel: Callable[[], None] | None = None
        self._next_progress_at = 0.0
        self._next_preview_at = 0.0

    def report_progress(self, fraction: float | None, note: str = "") -> None:
        """Say how far the job is; too frequent calls are dropped."""
        now = time.monotonic()
        if now >= self._next_progress_at:
            self._next_progress_at = now + _PROGRESS_INTERVAL_S
            bounded = None if fraction is None else min(max(fraction, 0.0), 1.0)
            self._send({"type": "progress", "attempt": self._attempt, "fraction": bounded, "note": note[:200]})

    def show_preview(self, media_type: str, data: Callable[[], bytes]) -> None:
        """Show an intermediate result; `data` is called only when it is time for another preview."""
        now = time.monotonic()
        if now >= self._next_preview_at:
            self._next_preview_at = now + _PREVIEW_INTERVAL_S
            self.send_piece(media_type, data())

    def send_piece(self, media_type: str, data: bytes) -> None:
        """Show a piece of a result that is followed by others, such as a sentence of speech: none is dropped."""
        encoded = b64encode(data).decode("ascii")
        self._send({"type": "preview", "attempt": self._attempt, "media_type": media_type, "data": encoded})

    def report_residents(self, models: Mapping[str, Bytes | None]) -> None:
        """Say which models are in memory now, and how many bytes each takes."""
        entries = [{"model": model, "memory": memory} for model, memory in models.items()]
        self._send({"type": "resident", "models": entries})

    @property
    def cancelled(self) -> bool:
        """Whether the server asked to stop."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise `Cancelled` when the server asked to stop."""
        if self.cancelled:
            raise Cancelled

    def call_when_cancelled(self, act: Callable[[], None]) -> None:
        """Call `act` from another thread as soon as the job is cancelled; at once when it is already."""
        self._on_cancel = act
        if self.cancelled:
            act()

    def cancel(self) -> None:
        """Ask the job to stop; for the thread that listens to the server."""
        self._cancelled.set()
        if self._on_cancel is not None:
            self._on_cancel()


class WorkerEngine(Protocol):
    """One engine inside its worker; `run` is called on the main thread, one job at a time."""

    @property
    def has_children(self) -> bool:
        """Whether it starts programs, which `stop` must end before the worker can die."""
        ...

    def run(self, job: Job, talk: Talk) -> Answer:
        """Do the job. Raises: EngineError, Cancelled; anything else is reported as a failed attempt."""
        ...

    def stop(self) -> None:
        """End the children that the engine started; called from any thread when the worker is about to end."""
        ...
