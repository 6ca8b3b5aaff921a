"""A database that dies or is full while a server starts ends that start as unavailable, never as a bug."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from corral.tasks.migrations import HEAD, LOCK, migrate, read_revision
from corral.tasks.store.pool import DatabaseUnavailableError, connect, translate_loss

END_WAITING = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where datname = current_database() and wait_event_type = 'Lock'"
)


async def test_a_database_that_goes_away_while_it_is_migrated_is_no_bug_of_the_migration(database_url: str) -> None:
    """The migration waits for one that another server makes, and its connection is ended there."""
    other = await connect(database_url)
    await other.execute("drop schema public cascade; create schema public")
    await other.fetchval("select pg_advisory_lock($1)", LOCK)
    migrating = asyncio.create_task(migrate(database_url))
    async with asyncio.timeout(120):
        while not await other.fetchval(END_WAITING):  # noqa: ASYNC110 (PostgreSQL reports to nobody that one waits)
            await asyncio.sleep(0.05)

    with pytest.raises(DatabaseUnavailableError, match="did not finish the migration"):
        await migrating
    assert await read_revision(database_url) is None

    await other.close()
    await migrate(database_url)
    assert await read_revision(database_url) == HEAD


@pytest.mark.parametrize("error", [asyncpg.DiskFullError, asyncpg.ConnectionDoesNotExistError, asyncpg.PostgresIOError])
def test_a_database_that_is_lost_or_full_is_unavailable_rather_than_a_bug(error: type[Exception]) -> None:
    with pytest.raises(DatabaseUnavailableError), translate_loss():
        raise error("it is gone")
