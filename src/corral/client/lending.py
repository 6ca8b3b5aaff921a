"""GPUs for the Python program that asks: `with corral.hold(memory="8Gi") as lent:`, and the same with `async with`.

The hold is renewed behind the program's back: by a task of its event loop, or by a thread. When it is lost, the block
is interrupted (as Ctrl-C does, in the main thread) and left with `HoldLostError`; a block in another thread learns it
from `lent.check()` and at its end.
"""

from __future__ import annotations

import _thread
import asyncio
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Literal

from corral.client.connection import locate
from corral.client.holding import Holder, HoldLostError, describe_loss
from corral.processes.kernel import identify_machine
from corral.work import Json

ClassWord = Literal["interactive", "batch"]
PriorityWord = Literal["critical", "high", "normal", "low", "idle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LentDevice:
    """A GPU that the program has."""

    device: str
    """`desk/gpu0`."""
    model: str
    visible: str | None
    """NVIDIA's UUID, or the PCI address of another GPU; None on a processor."""
    memory: int | None
    """Bytes that it has; None when unknown."""


@dataclass(slots=True, kw_only=True)
class Lent:
    """The GPUs that a block has."""

    id: int
    """The number of the hold."""
    devices: tuple[LentDevice, ...]
    environment: Mapping[str, str]
    """Variables by which a program sees these GPUs and no others; set them before a library looks for GPUs."""
    _loss: str | None = field(default=None, init=False)

    def check(self) -> None:
        """Return while the GPUs are the block's. Raises: HoldLostError."""
        if self._loss is not None:
            raise HoldLostError(self._loss, hint="stop using the GPUs, and take a new hold")

    def note_loss(self, hold: Json) -> None:
        """Note that the hold has ended or must end."""
        self._loss = describe_loss(hold)


def hold(
    memory: str | int | None = None,
    *,
    gpus: int = 1,
    node: str | None = None,
    queue: str = "default",
    task_class: ClassWord = "batch",
    priority: PriorityWord = "normal",
    at_most: timedelta | float | None = None,
    cpu: bool = False,
    program: str | None = None,
    url: str | None = None,
    data_dir: Path | str | None = None,
) -> Hold:
    """Ask for GPUs of this machine, for the time of a `with` or `async with` block.

    `memory` is what the block needs on each GPU, in bytes or as `8Gi`; all of it by default. `at_most` is a time in
    seconds after which the GPUs are taken back in any case. `cpu` takes a processor where there is no GPU. The server
    is that of the data directory, or the one at `url` with the token in `CORRAL_TOKEN`.
    """
    seconds = at_most.total_seconds() if isinstance(at_most, timedelta) else at_most
    asked: dict[str, Json] = {
        "memory": memory,
        "gpus": gpus,
        "node": node,
        "queue": queue,
        "class": task_class,
        "priority": priority,
        "for": seconds,
        "cpu": cpu,
        "program": program or " ".join(sys.argv[:1]) or None,
        "machine": identify_machine(),
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    folder = None if data_dir is None else Path(data_dir)
    return Hold(asked, Holder(lambda: locate(url, folder)))


class Hold:
    """A hold for one block. Raises in its `with`: HoldLostError, RemoteError, NoServerError."""

    def __init__(self, asked: Mapping[str, Json], holder: Holder) -> None:
        self._asked = asked
        self._holder = holder
        self._lent: Lent | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    # --- async with --------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Lent:
        try:
            lent = self._lent = _describe(await self._holder.take(self._asked))
        except BaseException:
            await self._give_back()
            raise
        block = asyncio.current_task()
        assert block is not None, "`async with` runs in a task"
        self._keeping = asyncio.create_task(self._interrupt_when_lost(lent, block))
        return lent

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lent, keeping, block = self._lent, self._keeping, asyncio.current_task()
        assert lent is not None
        assert keeping is not None
        assert block is not None
        keeping.cancel()
        await self._give_back()
        if kind is None or (kind is asyncio.CancelledError and keeping.done() and block.uncancel() == 0):
            lent.check()

    async def _interrupt_when_lost(self, lent: Lent, block: asyncio.Task[object]) -> None:
        lent.note_loss(await self._holder.keep())
        block.cancel()

    async def _give_back(self) -> None:
        await self._holder.release()
        await self._holder.close()

    # --- with --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Lent:
        granted: Future[Lent] = Future()
        interrupts = threading.current_thread() is threading.main_thread()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._hold_in_thread(granted, interrupts=interrupts)), name="hold", daemon=True
        )
        self._thread.start()
        try:
            lent = self._lent = granted.result()
        except BaseException:
            self._end_thread()
            raise
        return lent

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_thread()
        assert self._lent is not None
        if kind is None or kind is KeyboardInterrupt:
            self._lent.check()

    def _end_thread(self) -> None:
        if self._stop is not None:
            loop, stop = self._stop
            with suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(stop.set)
        if self._thread is not None:
            self._thread.join()

    async def _hold_in_thread(self, granted: Future[Lent], *, interrupts: bool) -> None:
        stop = asyncio.Event()
        self._stop = asyncio.get_running_loop(), stop
        stopping = asyncio.create_task(stop.wait())
        keeping = asyncio.create_task(self._keep_in_thread(granted, interrupts=interrupts))
        await asyncio.wait((stopping, keeping), return_when=asyncio.FIRST_COMPLETED)
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        await self._give_back()

    async def _keep_in_thread(self, granted: Future[Lent], *, interrupts: bool) -> None:
        try:
            lent = _describe(await self._holder.take(self._asked))
        except Exception as error:  # noqa: BLE001  it is raised where the block begins
            granted.set_exception(error)
            return
        granted.set_result(lent)
        lent.note_loss(await self._holder.keep())
        if interrupts:
            _thread.interrupt_main()


def _describe(hold: Json) -> Lent:
    devices = tuple(
        LentDevice(device=device["device"], model=device["model"], visible=device["visible"], memory=device["memory"])
        for device in hold["devices"]
    )
    return Lent(id=hold["id"], devices=devices, environment=hold["environment"])
