"""A leader that stands still loses its lead to a standby, and does nothing as a leader when it goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest

from builders import a_submission, a_task
from corral.tasks.board import Board
from corral.tasks.dispatch_rules import Timings
from corral.tasks.leadership import Rhythm, Watch
from corral.tasks.lifecycle import Leased, TaskState
from corral.tasks.store import leading, story
from corral.tasks.store.dispatching import commit_round
from corral.tasks.store.leading import LeadLostError, Pulse
from corral.tasks.store.pool import CONNECTION_LOST, Pool, connect
from corral.tasks.store.submitting import submit
from corral.tasks.store.transitions import Lease, TaskChange
from corral.work import Produced, Reporter, SlotId, Work
from doubles.engines import ScriptedEngine

if TYPE_CHECKING:
    from conftest import Servers

pytestmark = pytest.mark.alone

SCRIPT = Path(__file__).resolve().parents[2] / "doubles" / "lone_dispatcher.py"
QUICK = Timings(stop_grace_s=0.2, rhythm=Rhythm(beat_s=0.1, silent_s=1.0))


class Lone:
    """The process of `lone_dispatcher.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def shows(self, word: str) -> None:
        """Wait until it leads, or stands by."""
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while (line := (await self.process.stdout.readline()).decode()).strip() != word:
                assert line, "the process has ended"

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)


@pytest.fixture
async def lone(database_url: str, tmp_path: Path) -> AsyncIterator[Lone]:
    """A dispatcher in a process of its own, which leads."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), database_url, str(tmp_path / "lone"), "0.1"), stdout=asyncio.subprocess.PIPE
    )
    lone = Lone(process)
    await lone.shows("leading")
    yield lone
    process.kill()
    await process.wait()


async def _leads(board: Board) -> None:
    async with asyncio.timeout(15):
        while not board.leading:
            await board.wait_for_change()


async def test_leader_that_is_stopped_is_replaced_and_gives_out_nothing_when_it_goes_on(
    servers: Servers, lone: Lone
) -> None:
    held = asyncio.Event()

    async def wait(work: Work, report: Reporter) -> Produced:
        await held.wait()
        return Produced()

    lone.send(signal.SIGSTOP)
    _, board = servers.start("second", ScriptedEngine(wait), timings=QUICK)
    await _leads(board)
    ids = (await submit(servers.pool, a_submission(a_task("a"), a_task("b")), queued_limits={})).tasks
    await servers.until_some(lambda task: task.state is TaskState.RUNNING, 1, *ids)
    lone.send(signal.SIGCONT)  # its own slot is free, and a task is queued
    await lone.shows("standby")
    assert board.leading
    held.set()
    await servers.ended(*ids)
    leased = [event.data["slots"] for event in await story.read(servers.pool, kinds=["leased"])]
    assert leased == [["second/cpu0/sleep"]] * 2


async def test_leader_that_beats_keeps_the_lead(servers: Servers, lone: Lone) -> None:
    _, board = servers.start("second", ScriptedEngine(), timings=QUICK)
    connection = await connect(servers.url)
    first = await leading.read_pulse(connection)
    assert first is not None
    async with asyncio.timeout(15):
        while (pulse := await leading.read_pulse(connection)) is None or pulse.beats < first.beats + 20:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # two silent times; a beat leaves no line in the story
    assert (pulse.epoch, board.leading) == (first.epoch, False)
    await connection.close()


async def test_round_of_an_epoch_that_is_over_is_refused_whole(pool: Pool, database_url: str) -> None:
    (id,) = (await submit(pool, a_submission(), queued_limits={})).tasks
    old = await connect(database_url)
    epoch = await leading.take_lead(old)
    assert epoch is not None
    await old.close()
    new = await connect(database_url)
    assert await leading.take_lead(new) == epoch + 1
    lease = Lease(holder=uuid4(), ttl=timedelta(seconds=60))
    changes = [TaskChange(task=id, event=Leased(uuid4(), (SlotId("node/cpu0"),)))]
    with pytest.raises(LeadLostError, match=f"epoch {epoch} is over"):
        await commit_round(pool, changes, lease, epoch=epoch)
    assert not await leading.beat(pool, epoch)
    assert [event.kind for event in await story.read(pool, task=id)] == ["submitted"]
    assert (await commit_round(pool, changes, lease, epoch=epoch + 1)).applied.refused == []
    await new.close()


async def test_transaction_that_a_stopped_leader_left_open_ends_and_writes_nothing(
    pool: Pool, database_url: str
) -> None:
    first, second, writer = [await connect(database_url) for _ in range(3)]
    epoch = await leading.take_lead(first)
    assert epoch is not None
    assert await writer.fetchval("show idle_in_transaction_session_timeout") == "10s"
    await writer.execute("set idle_in_transaction_session_timeout = '300ms'")
    await writer.execute("begin")
    await leading.require_lead(writer, epoch)
    await first.close()
    assert await leading.take_lead(second) == epoch + 1  # waits for the end of that transaction
    with pytest.raises((*CONNECTION_LOST, asyncpg.PostgresError)):
        await writer.execute("commit")
    await second.close()


def test_silence_is_counted_from_the_last_change_and_from_each_new_leader() -> None:
    watch = Watch()
    first, second = Pulse(7, 1, 1), Pulse(8, 1, 1)
    assert watch.note(first, now=100) == 0
    assert watch.note(first, now=110) == 10
    assert watch.note(Pulse(7, 1, 2), now=120) == 0
    assert watch.note(Pulse(7, 1, 2), now=500) == 380
    assert watch.note(second, now=501) == 0
    assert watch.note(None, now=600) == 0
    assert watch.note(second, now=601) == 0
