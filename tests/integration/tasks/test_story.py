"""The story misses nothing, whoever writes at the same time, and nobody who writes waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from corral.tasks.store import story
from corral.tasks.store.pool import CHANNEL, Pool, connect, open_pool
from corral.tasks.store.story import Entry
from doubles.story_load import follow_story, write_story

LINES = 20_000
"""`python tests/chaos/story.py` writes and reads a million."""


@asynccontextmanager
async def an_open_line(pool: Pool, kind: str) -> AsyncIterator[None]:
    """A transaction that has appended a line and does not end while the context lasts."""
    async with story.open_writing(pool) as writing:
        await story.append(writing, [Entry(kind=kind)])
        yield


async def kinds_up_to_the_horizon(pool: Pool, after: int = 0) -> list[str]:
    lines = await story.read(pool, after=after, up_to=await story.read_horizon(pool))
    return [line.kind for line in lines]


async def append(pool: Pool, kind: str) -> None:
    async with story.open_writing(pool) as writing:
        await story.append(writing, [Entry(kind=kind)])


async def test_horizon_of_an_empty_story_is_zero(pool: Pool) -> None:
    assert await story.read_horizon(pool) == 0


async def test_writer_does_not_wait_for_another_that_has_not_committed(pool: Pool) -> None:
    async with an_open_line(pool, "slow"):
        await append(pool, "quick")
        assert [line.kind for line in await story.read(pool)] == ["quick"]


async def test_line_behind_one_that_is_still_to_come_is_not_shown_yet(pool: Pool) -> None:
    await append(pool, "first")
    async with an_open_line(pool, "slow"):
        await append(pool, "quick")
        assert await kinds_up_to_the_horizon(pool) == ["first"]
    assert await kinds_up_to_the_horizon(pool) == ["first", "slow", "quick"]


async def test_line_that_never_came_holds_nobody_up(pool: Pool) -> None:
    try:
        async with an_open_line(pool, "taken back"):
            await append(pool, "quick")
            raise LookupError
    except LookupError:
        pass
    assert await kinds_up_to_the_horizon(pool) == ["quick"]


async def test_writer_in_another_database_holds_nobody_up(pool: Pool, postgres_url: str) -> None:
    other = await connect(postgres_url)
    async with other.transaction():
        await other.execute("create temporary table unrelated (id int)")
        await append(pool, "here")
        assert await kinds_up_to_the_horizon(pool) == ["here"]
    await other.close()


async def test_listeners_are_notified_after_the_commit_of_every_kind(pool: Pool, database_url: str) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await connect(database_url)
    await listener.add_listener(CHANNEL, lambda *words: heard.put_nowait(words[-1]))
    async with story.open_writing(pool) as writing:
        await story.append(writing, [Entry(kind="submitted"), Entry(kind="cancelled")])
    assert await heard.get() == "cancelled submitted"
    await listener.close()


async def test_readers_see_every_line_once_and_in_order_while_many_write(pool: Pool, database_url: str) -> None:
    writers = await open_pool(database_url, size=12)
    written = asyncio.create_task(write_story(writers, lines=LINES, writers=12, seed=3))
    readers = [asyncio.create_task(follow_story(pool, all_written=written.done, seed=seed)) for seed in range(4)]
    kept = await written
    everything = [row["id"] for row in await pool.fetch("select id from events order by id")]
    assert len(everything) == kept
    for reader in readers:
        assert await reader == everything
    await writers.close()
