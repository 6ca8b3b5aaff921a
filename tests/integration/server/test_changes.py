"""Following the story: whoever falls behind reads on from the database, and a lost notification is made up for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

from builders import a_submission, a_task
from corral.server.api.changes import Changes, Subject
from corral.tasks.alarms import Alarms
from corral.tasks.store.pool import Connection, DatabaseFullError, Pool, connect
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
    async with aclosing(changes.follow(last)) as following:
        async for more in following:
            lines += more
            if len(lines) >= count:
                break
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


async def test_follower_of_one_batch_is_given_its_lines_alone_from_the_database_and_as_they_come(pool: Pool) -> None:
    changes = Changes(pool, window=4)
    async with followed(changes):
        batches = [
            (await submit(pool, a_submission(*(a_task(f"{i}") for i in range(5))), queued_limits={})).batch
            for _ in range(4)
        ]
        seen: list[StoryEvent] = []
        async with aclosing(changes.follow(0, Subject(batch=batches[1]))) as following:
            async for lines in following:
                seen += lines
                if len(seen) == 5:
                    await pool.execute("insert into events (batch_id, kind) values ($1, 'later')", batches[1])
                    await submit(pool, a_submission(), queued_limits={})  # its notification brings it
                if len(seen) == 6:
                    break
    assert {line.batch for line in seen} == {batches[1]}
    assert [line.kind for line in seen] == ["submitted"] * 5 + ["later"]


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
        waiting = asyncio.create_task(changes.ends(0, 2, Subject(task=7)))
        await pool.execute(ended, 8)
        await pool.execute(ended, 7)
        await submit(pool, a_submission(), queued_limits={})  # its notification brings the two before
        await take(changes, 0, 3)
        assert not waiting.done()
        await pool.execute(ended, 7)
        await submit(pool, a_submission(), queued_limits={})
        await waiting


async def test_follower_that_finds_no_connection_free_tries_again_and_its_alarm_ends_when_it_follows(
    pool: Pool, database_url: str, postgres_url: str
) -> None:
    alarms = Alarms()
    changes = Changes(pool, alarms=alarms)
    taken: list[Connection] = []
    async with followed(changes):
        await submit(pool, a_submission(), queued_limits={})
        (first,) = await take(changes, 0, 1)
        admin = await connect(database_url)
        async with asyncio.timeout(30):
            while not any("too many clients" in alarm.what for alarm in alarms.raised):
                with suppress(DatabaseFullError):
                    while True:
                        taken.append(await connect(postgres_url))
                await admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                )
        assert [alarm.name for alarm in alarms.raised] == ["story"]
        for connection in (*taken, admin):
            await connection.close()
        async with asyncio.timeout(30):
            while alarms.raised:  # noqa: ASYNC110 (an alarm that ends wakes none)
                await asyncio.sleep(0.01)
        await submit(pool, a_submission(), queued_limits={})
        (second,) = await take(changes, first.id, 1)
    assert second.id > first.id
