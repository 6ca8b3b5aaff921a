"""Following the story: whoever falls behind reads on from the database, and a lost notification is made up for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from builders import a_submission, a_task
from corral.server.api.changes import Changes
from corral.tasks.store.pool import Pool
from corral.tasks.store.submitting import submit
from corral.tasks.values import StoryEvent


@asynccontextmanager
async def followed(changes: Changes) -> AsyncIterator[None]:
    running = asyncio.create_task(changes.run())
    try:
        yield
    finally:
        changes.stop()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def take(changes: Changes, last: int, count: int) -> list[StoryEvent]:
    lines: list[StoryEvent] = []
    while len(lines) < count:
        lines += await changes.after(lines[-1].id if lines else last)
    return lines


async def test_follower_who_fell_behind_the_window_misses_nothing(pool: Pool) -> None:
    changes = Changes(pool, window=4)
    async with followed(changes):
        for batch in range(5):
            await submit(pool, a_submission(*(a_task(f"{batch}-{i}") for i in range(5))), queued_limits={})
        slow = await take(changes, 0, 25)
        fast = await take(changes, slow[-3].id, 2)
    assert [line.id for line in slow] == sorted({line.id for line in slow})
    assert fast == slow[-2:]


async def test_line_whose_notification_was_lost_is_found_by_the_poll(pool: Pool) -> None:
    changes = Changes(pool, poll_s=0.01)
    async with followed(changes):
        await submit(pool, a_submission(), queued_limits={})
        first = await take(changes, 0, 1)
        id = await pool.fetchval("insert into events (kind) values ('quiet') returning id")
        quiet = await take(changes, first[0].id, 1)
    assert (quiet[0].id, quiet[0].kind) == (id, "quiet")


async def test_waiting_for_ends_counts_only_what_concerns_it(pool: Pool) -> None:
    changes = Changes(pool)
    ended = "insert into events (task_id, kind, data) values ($1, 'succeeded', '{\"state\": \"succeeded\"}')"
    async with followed(changes):
        waiting = asyncio.create_task(changes.ends(0, 2, lambda line: line.task == 7))
        await pool.execute(ended, 8)
        await pool.execute(ended, 7)
        await submit(pool, a_submission(), queued_limits={})  # its notification brings the two before
        await take(changes, 0, 3)
        assert not waiting.done()
        await pool.execute(ended, 7)
        await submit(pool, a_submission(), queued_limits={})
        await waiting
