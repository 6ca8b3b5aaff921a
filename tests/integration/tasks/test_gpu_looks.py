"""A server's looks at its GPUs: a driver that hangs, and a machine that slept; a dispatcher on a real database."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from corral.server.gpu_looks import GpuLooks
from corral.slots.device_use import DeviceUse
from corral.slots.values import Wanted
from corral.telemetry.gpu_watch import GpuLook, GpuWatch
from corral.telemetry.ownership import Own
from doubles.engines import ScriptedEngine
from doubles.yard import make_gpu_slots

if TYPE_CHECKING:
    from conftest import Yard

UUID = "GPU-11111111-1111-4111-8111-111111111111"


class SlowWatch(GpuWatch):
    """A sampler whose looks end when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.answers.set()

    def look(self, own: Own, now_s: float) -> GpuLook:
        self.answers.wait(30)
        return GpuLook(uses={UUID: DeviceUse()})


class Looking:
    """The looks of a server with one GPU, which follow one another at once."""

    def __init__(self, yard: Yard) -> None:
        self.yard, self.watch, self.engine = yard, SlowWatch(), ScriptedEngine(name="llama")
        self.asleep_s = 0.0
        self._dispatcher = yard.start()
        wanted = make_gpu_slots(self.engine)
        devices = tuple(replace(device, visible=UUID) for device in wanted.devices)
        self._dispatcher.change_slots(Wanted(devices=devices, slots=wanted.slots))
        looks = GpuLooks(
            self._dispatcher.devices,
            self.watch,
            self._read_own,
            yard.pool,
            silent_after_s=0.1,
            measure_sleep=lambda: self.asleep_s,
        )
        self.running = asyncio.create_task(looks.run())

    async def _read_own(self) -> Own:
        return Own(server=os.getpid(), logs=Path("logs"))

    async def until(self, holds: Callable[[str], bool]) -> str:
        """Look until the reason for which the slot is closed is as described, and return it."""
        async with asyncio.timeout(20):
            while True:
                reason = self.yard.board.places[0].facts.gate_reason
                if holds(reason):
                    return reason
                self._dispatcher.devices.look_asked.set()
                await asyncio.sleep(0.02)


@pytest.fixture
async def looking(yard: Yard) -> AsyncIterator[Looking]:
    looking = Looking(yard)
    yield looking
    looking.watch.answers.set()
    looking.running.cancel()


async def test_driver_that_hangs_closes_the_slot_until_it_answers(looking: Looking) -> None:
    looking.watch.answers.clear()
    hung = await looking.until(bool)
    looking.watch.answers.set()
    await looking.until(lambda reason: not reason)

    assert hung == "the GPU cannot be used: the driver has not answered for 0.1 s"


async def test_suspend_shows_in_the_clock_and_engines_start_anew(looking: Looking) -> None:
    await looking.until(lambda reason: not reason)
    looking.asleep_s = 3600.0
    await looking.until(lambda _: looking.engine.kills > 0)
    await looking.until(lambda reason: not reason)

    assert looking.engine.kills == 1
