"""A hold is a task of the queue whose work is done by a program elsewhere: it ends when that is over, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar, cast

import pytest

from builders import a_submission, a_task
from corral.engine_kinds import HOLD
from corral.engines.hold.engine import HoldEngine
from corral.hours import DAY_MINUTES, DAYS, make_hours
from corral.scheduling.values import Gate
from corral.slots.values import DeviceSpec, Wanted
from corral.tasks.holding import PATIENCE_S, StoredHoldBook
from corral.tasks.lifecycle import TaskState
from corral.tasks.store import holds, story
from corral.tasks.store.controls import Gated, set_gate
from corral.tasks.store.pool import Connections, Pool
from corral.tasks.store.submitting import submit
from corral.tasks.values import Task
from corral.work import HoldTerms, SlotId
from doubles.engines import ScriptedEngine
from doubles.lending import Ledger
from doubles.yard import make_slot

if TYPE_CHECKING:
    from conftest import Yard

CARD = SlotId("node/gpu0")
_T = TypeVar("_T")


@asynccontextmanager
async def looked_after(book: StoredHoldBook) -> AsyncGenerator[None]:
    running = asyncio.create_task(book.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def one_card(book: StoredHoldBook, *, other: ScriptedEngine | None = None) -> Wanted:
    """A card on which programs and another engine take turns."""
    device = DeviceSpec(name=CARD, node="node", provider=CARD, model="card")
    engines = [HoldEngine(book), other or ScriptedEngine()]
    return Wanted(devices=(device,), slots=tuple(make_slot(CARD, engine) for engine in engines))


async def take(yard: Yard, *, ttl_s: float = 60, for_s: float | None = None, gpus: int = 1) -> int:
    asked = a_task("hold", engine=HOLD.name, inputs={"ttl_s": ttl_s, "for_s": for_s}, gpus=gpus)
    (id,) = (await submit(yard.pool, a_submission(asked), queued_limits={})).tasks
    await holds.add(yard.pool, id, HoldTerms(ttl_s=ttl_s, for_s=for_s))
    return id


async def granted(yard: Yard, *ids: int) -> list[holds.StoredHold]:
    async with asyncio.timeout(30):
        while True:
            known = await holds.read(yard.pool, ids)
            if all(id in known and known[id].granted_at is not None for id in ids):
                return [known[id] for id in ids]
            await asyncio.sleep(0.02)


async def wait_for_row(yard: Yard, id: int) -> holds.StoredHold:
    async with asyncio.timeout(30):
        while True:
            known = await holds.read(yard.pool, [id])
            if id in known:
                return known[id]
            await asyncio.sleep(0.02)


async def list_kinds(yard: Yard, task: int) -> list[str]:
    """List what is in a task's story, without its start: that is written when there is time for it."""
    return [line.kind for line in await story.read(yard.pool, task=task) if line.kind != "started"]


async def submit_other(yard: Yard) -> int:
    return (await submit(yard.pool, a_submission(a_task("other")), queued_limits={})).tasks[0]


async def give_back(yard: Yard, book: StoredHoldBook, id: int) -> Task:
    await holds.ask_back(yard.pool, id, timedelta())
    book.wake()
    return (await yard.ended(id))[0]


async def test_released_hold_has_succeeded_and_its_card_goes_to_what_waits(yard: Yard) -> None:
    book = Ledger(yard.pool, yard.board).make_book()
    async with looked_after(book):
        yard.start(wanted=one_card(book))
        hold = await take(yard)
        (grant,) = await granted(yard, hold)
        waiting = await submit_other(yard)
        ended = await give_back(yard, book, hold)
        (other,) = await yard.ended(waiting)

    assert grant.slots == (f"{CARD}/hold",)
    assert (ended.state, ended.result) == (TaskState.SUCCEEDED, {"ended": "released"})
    assert other.state is TaskState.SUCCEEDED
    assert other.started_at is not None
    assert ended.finished_at is not None
    assert other.started_at >= ended.finished_at
    assert await list_kinds(yard, hold) == [
        "submitted",
        "leased",
        "hold_granted",
        "hold_ended",
        "succeeded",
    ]


async def test_hold_that_is_released_twice_is_not_cancelled(yard: Yard) -> None:
    hold = await take(yard)
    terms, slot = HoldTerms(ttl_s=60, for_s=None), SlotId(f"{CARD}/hold")
    await holds.grant(yard.pool, holds.Grant(task=hold, terms=terms, slots=(slot,), devices=("card",)))

    for _ in range(2):  # the second comes before the attempt has ended
        await holds.ask_back(yard.pool, hold, timedelta())

    assert await yard.pool.fetchval("select state from tasks where id = $1", hold) == "queued"
    assert (await list_kinds(yard, hold)).count("hold_ended") == 1


async def test_hold_that_is_not_renewed_is_taken_back(yard: Yard) -> None:
    book = Ledger(yard.pool, yard.board).make_book()
    async with looked_after(book):
        yard.start(wanted=one_card(book))
        kept = await take(yard)
        await granted(yard, kept)
        await yard.pool.execute(
            "update holds set ttl = interval '2 seconds', expires_at = now() + interval '2 seconds'"
        )
        for _ in range(5):
            await asyncio.sleep(0.5)
            assert await holds.renew(yard.pool, kept)
        (ended,) = await yard.ended(kept)

    assert ended.result == {"ended": "expired"}
    assert not await holds.renew(yard.pool, kept)


async def test_hold_that_waits_and_is_not_renewed_leaves_the_queue(yard: Yard) -> None:
    book = Ledger(yard.pool, yard.board).make_book()
    async with looked_after(book):
        yard.start(wanted=one_card(book))
        first = await take(yard)
        await granted(yard, first)
        second = await take(yard, ttl_s=0.2)
        (ended,) = await yard.ended(second)
        await give_back(yard, book, first)

    assert ended.state is TaskState.CANCELLED
    lines = await story.read(yard.pool, task=second)
    assert lines[-1].data["because"] == "expired"


async def test_time_that_is_over_is_first_said_and_then_taken(yard: Yard) -> None:
    book = Ledger(yard.pool, yard.board).make_book(grace=timedelta(seconds=0.3))
    async with looked_after(book):
        yard.start(wanted=one_card(book))
        hold = await take(yard, for_s=0.2)
        await granted(yard, hold)
        (ended,) = await yard.ended(hold)

    assert ended.result == {"ended": "over"}
    assert (await list_kinds(yard, hold))[-3:] == ["hold_ending", "hold_ended", "succeeded"]


@pytest.mark.parametrize("how", ["crash", "stop"])
async def test_card_of_a_hold_is_its_own_after_a_restart_whatever_waits(yard: Yard, how: str) -> None:
    ledger = Ledger(yard.pool, yard.board)
    book = ledger.make_book()
    async with looked_after(book):
        yard.start(wanted=one_card(book))
        hold = await take(yard)
        (before,) = await granted(yard, hold)
        waiting = await submit_other(yard)
        await set_gate(yard.pool, Gated.SLOT, CARD, Gate.DRAINING)
        await (yard.crash() if how == "crash" else yard.stop())

    book, other = ledger.make_book(), ScriptedEngine()
    async with looked_after(book):
        yard.start(wanted=one_card(book, other=other))
        await yard.until(lambda task: task.state is TaskState.RUNNING, hold)
        await set_gate(yard.pool, Gated.SLOT, CARD, Gate.OPEN)
        (after,) = await granted(yard, hold)
        assert not other.runs
        ended = await give_back(yard, book, hold)
        await yard.ended(waiting)

    assert ended.result == {"ended": "released"}
    assert (after.granted_at, after.slots) == (before.granted_at, before.slots)
    assert (await list_kinds(yard, hold)).count("hold_granted") == 1


async def test_hold_on_two_cards_has_both_after_a_crash(yard: Yard) -> None:
    ledger = Ledger(yard.pool, yard.board)
    book = ledger.make_book()
    async with looked_after(book):
        yard.start(HoldEngine(book), HoldEngine(book))
        hold = await take(yard, gpus=2)
        await granted(yard, hold)
        await yard.crash()

    book = ledger.make_book()
    async with looked_after(book):
        yard.start(HoldEngine(book), HoldEngine(book))
        (running,) = await yard.until(lambda task: task.state is TaskState.RUNNING, hold)
        await give_back(yard, book, hold)

    assert set(running.slots) == {"node/cpu0/hold", "node/cpu1/hold"}


async def test_hold_whose_card_is_gone_after_a_restart_ends_with_the_reason(yard: Yard) -> None:
    ledger = Ledger(yard.pool, yard.board)
    book = ledger.make_book()
    async with looked_after(book):
        yard.start(wanted=one_card(book))
        hold = await take(yard)
        await granted(yard, hold)
        await yard.crash()

    book = ledger.make_book()
    async with looked_after(book):
        yard.start(HoldEngine(book))
        (ended,) = await yard.ended(hold)

    assert ended.state is TaskState.FAILED
    assert ended.error is not None
    assert ended.error.code == "hold.device_gone"
    assert f"{CARD}/hold" in ended.error.what


async def test_time_in_which_the_server_was_away_does_not_count(yard: Yard) -> None:
    ledger = Ledger(yard.pool, yard.board)
    now = [1000.0]
    book = ledger.make_book()
    async with looked_after(book):
        yard.start(wanted=one_card(book))
        hold = await take(yard, ttl_s=5)
        await granted(yard, hold)
        await yard.crash()
    await yard.pool.execute("update holds set expires_at = now() - interval '1 hour'")

    book = ledger.make_book(clock=lambda: now[0])
    async with looked_after(book):
        yard.start(wanted=one_card(book))
        await yard.until(lambda task: task.state is TaskState.RUNNING, hold)
        assert await holds.renew(yard.pool, hold)
        await yard.pool.execute("update holds set expires_at = now() - interval '1 hour'")  # the machine was suspended
        now[0] += PATIENCE_S + 3600
        book.wake()
        await asyncio.sleep(0.2)
        assert await holds.renew(yard.pool, hold)
        await give_back(yard, book, hold)


async def test_hold_whose_row_a_crash_prevented_leaves_the_queue_unless_it_is_renewed(yard: Yard) -> None:
    book = Ledger(yard.pool, yard.board).make_book()
    asked = a_task("hold", engine=HOLD.name, inputs={"ttl_s": 7, "for_s": 3600})
    (id,) = (await submit(yard.pool, a_submission(asked), queued_limits={})).tasks  # and then the server is killed
    gate_was_set = await set_gate(yard.pool, Gated.QUEUE, "default", Gate.PAUSED)
    async with looked_after(book):
        yard.start(wanted=one_card(book))
        known = await wait_for_row(yard, id)
        await yard.pool.execute("update holds set expires_at = now() - interval '1 second'")
        (ended,) = await yard.ended(id)

    assert gate_was_set
    assert known.ttl == timedelta(seconds=7)
    assert await yard.pool.fetchval("select lasts from holds where task_id = $1", id) == timedelta(hours=1)
    assert ended.state is TaskState.CANCELLED


async def test_end_that_was_stored_before_a_crash_is_kept(yard: Yard) -> None:
    ledger = Ledger(yard.pool, yard.board)
    book = ledger.make_book()
    yard.start(wanted=one_card(book))  # nobody looks at the book: it ends after the crash
    hold = await take(yard)
    await granted(yard, hold)
    await holds.ask_back(yard.pool, hold, timedelta())
    await yard.crash()

    book = ledger.make_book()
    async with looked_after(book):
        yard.start(wanted=one_card(book))
        (ended,) = await yard.ended(hold)

    assert (ended.state, ended.result) == (TaskState.SUCCEEDED, {"ended": "released"})


class PoolThatGoesAway(Pool):
    """A pool whose database does not answer while `away` is set."""

    def __init__(self, pool: Pool) -> None:
        self.away = False
        self.refused = asyncio.Event()
        super().__init__(cast("Connections", pool))  # it has what a pool of asyncpg has
        self.acquire = lambda: self._require(pool.acquire)
        self.execute = self._execute
        self._asked = pool

    async def _execute(self, query: str, *arguments: object) -> str:
        return await self._require(lambda: self._asked.execute(query, *arguments))

    def _require(self, ask: Callable[[], _T]) -> _T:
        if self.away:
            self.refused.set()
            raise ConnectionRefusedError
        return ask()


async def test_time_in_which_the_database_was_away_does_not_count(yard: Yard) -> None:
    pool, now = PoolThatGoesAway(yard.pool), [1000.0]
    book = Ledger(pool, yard.board).make_book(clock=lambda: now[0])
    async with looked_after(book):
        yard.start(wanted=one_card(book))
        hold = await take(yard)
        await granted(yard, hold)
        pool.away = True
        for _ in range(3):  # each look fails, and the holder's renewals do
            pool.refused.clear()
            now[0] += PATIENCE_S
            book.wake()
            await pool.refused.wait()
        await yard.pool.execute("update holds set expires_at = now() - interval '1 s'")
        pool.away = False
        book.wake()
        await asyncio.sleep(0.3)

        assert await holds.renew(yard.pool, hold)
        await give_back(yard, book, hold)


async def test_hours_that_are_over_ask_the_program_to_stop(yard: Yard) -> None:
    book = Ledger(yard.pool, yard.board).make_book(grace=timedelta(seconds=1))
    day = DAYS[(datetime.now(UTC) + timedelta(days=3)).weekday()]
    closed = make_hours({day: ((0, DAY_MINUTES),)}, zone="UTC", interrupt=True)
    async with looked_after(book):
        dispatcher = yard.start(HoldEngine(book))
        hold = await take(yard)
        await granted(yard, hold)
        wanted = yard.slots.wanted
        dispatcher.change_slots(
            replace(wanted, devices=tuple(replace(device, hours=closed) for device in wanted.devices))
        )
        (ended,) = await yard.ended(hold)

    assert (ended.state, ended.result) == (TaskState.SUCCEEDED, {"ended": "closed"})
    assert (await list_kinds(yard, hold))[-3:] == ["hold_ending", "hold_ended", "succeeded"]
