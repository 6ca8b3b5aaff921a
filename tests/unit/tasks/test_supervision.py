"""A background task that fails is started again, and an alarm says so until it works."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from corral.tasks.alarms import Alarms
from corral.tasks.supervision import Pauses, supervise

AT = datetime(2026, 1, 1, tzinfo=UTC)
QUICK = Pauses(first_s=0.001, longest_s=0.004, steady_s=0.02)


class Failing:
    """A task that fails a number of times, and then runs on."""

    def __init__(self, failures: int) -> None:
        self.left = failures
        self.runs = 0
        self.works = asyncio.Event()

    async def __call__(self) -> None:
        self.runs += 1
        if self.left:
            self.left -= 1
            raise RuntimeError(f"failure {self.runs}")
        self.works.set()
        await asyncio.Event().wait()


async def _until_cleared(alarms: Alarms) -> None:
    async with asyncio.timeout(5):
        while alarms.raised:  # noqa: ASYNC110 (an alarm that ends wakes none)
            await asyncio.sleep(0.001)


async def test_task_that_fails_is_started_again_and_its_alarm_ends_once_it_runs_on() -> None:
    alarms, task = Alarms(), Failing(3)
    supervising = asyncio.create_task(supervise("story", task, alarms, pauses=QUICK))
    await asyncio.wait_for(task.works.wait(), 5)
    (alarm,) = alarms.raised
    assert (alarm.name, task.runs) == ("story", 4)
    assert alarm.what == "the background task story failed: RuntimeError: failure 3"
    await _until_cleared(alarms)
    supervising.cancel()


async def test_task_that_returns_is_an_alarm_too() -> None:
    alarms = Alarms()
    runs = 0

    async def end() -> None:
        nonlocal runs
        runs += 1
        if runs > 2:
            await asyncio.Event().wait()

    supervising = asyncio.create_task(supervise("telemetry", end, alarms, pauses=QUICK))
    async with asyncio.timeout(5):
        while runs < 3:  # noqa: ASYNC110 (the supervisor starts it)
            await asyncio.sleep(0.001)
    assert [alarm.what for alarm in alarms.raised] == ["the background task telemetry ended by itself"]
    supervising.cancel()


async def test_cancelled_supervisor_ends_its_task() -> None:
    ended = asyncio.Event()

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    supervising = asyncio.create_task(supervise("story", run, Alarms(), pauses=QUICK))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    supervising.cancel()
    await asyncio.gather(supervising, return_exceptions=True)
    assert ended.is_set()


def test_alarm_that_rings_again_keeps_its_beginning_and_says_the_newest() -> None:
    times = iter([AT, AT + timedelta(hours=1)])
    alarms = Alarms(now=lambda: next(times))
    alarms.ring("disk", "no space", hint="free some")
    alarms.ring("disk", "less space")
    assert [(alarm.what, alarm.since) for alarm in alarms.raised] == [("less space", AT)]
    alarms.clear("disk")
    alarms.clear("disk")
    assert alarms.raised == ()
