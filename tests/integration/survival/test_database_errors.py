"""What PostgreSQL does to a client at an unlucky moment is a lost connection or a wait, never the server's end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest

from builders import a_submission, a_task
from corral.tasks.lifecycle import Leased
from corral.tasks.store import dispatching
from corral.tasks.store.pool import CONNECTION_LOST, DatabaseFullError, Pool, connect, open_pool
from corral.tasks.store.submitting import submit
from corral.tasks.store.transitions import Lease, TaskChange, apply
from corral.work import SlotId


class LastWords:
    """Stands between a client and PostgreSQL, and passes on everything but the end of the connection.

    So the client sees the server's last words for as long as a test likes, and not yet that it hung up: on a busy
    machine that is how it looks for some milliseconds.
    """

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._socket = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._database = parts.path
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self.heard = asyncio.Event()
        """Set when the last words have been passed on."""

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://postgres@127.0.0.1:{port}{self._database}?sslmode=disable"

    async def stop(self) -> None:
        for task in self._passing:
            task.cancel()
        if self._server is not None:
            self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket)
        self._passing.add(asyncio.create_task(self._pass(reader, back)))
        self._passing.add(asyncio.create_task(self._pass(there, writer)))

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
                if b"terminating connection" in data:
                    self.heard.set()


@pytest.fixture
async def last_words(database_url: str) -> AsyncIterator[LastWords]:
    between = LastWords(database_url)
    yield between
    await between.stop()


async def test_query_after_the_servers_last_words_is_a_lost_connection(pool: Pool, last_words: LastWords) -> None:
    severed = await open_pool(await last_words.start(), size=1)
    victim = await severed.fetchval("select pg_backend_pid()")
    await pool.execute("select pg_terminate_backend($1)", victim)
    await asyncio.wait_for(last_words.heard.wait(), 10)
    with pytest.raises(CONNECTION_LOST):
        await severed.fetchval("select 1")
    severed.terminate()


async def test_renewing_leases_waits_for_a_commit_instead_of_locking_crosswise(pool: Pool, database_url: str) -> None:
    """A row that was written again lies behind the others; whoever locks in that order meets a commit crosswise."""
    first, second = (await submit(pool, a_submission(a_task("a"), a_task("b")), queued_limits={})).tasks
    leases = [uuid4(), uuid4()]
    held = Lease(holder=uuid4(), ttl=timedelta(seconds=60))
    await apply(pool, [_leased(second, leases[1], "cpu1")], lease=held)
    await apply(pool, [_leased(first, leases[0], "cpu0")], lease=held)
    commit = await asyncpg.connect(database_url)
    transaction = commit.transaction()
    await transaction.start()
    await commit.execute("select from tasks where id = $1 for update", first)
    renewing = asyncio.create_task(dispatching.renew_leases(pool, leases, held.ttl))
    async with asyncio.timeout(10):
        while not await pool.fetchval("select exists (select from pg_locks where not granted)"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # PostgreSQL tells nobody who waits
    await commit.execute("select from tasks where id = $1 for update", second)
    await transaction.commit()
    await commit.close()
    assert await renewing == frozenset(leases)


def _leased(task: int, attempt: UUID, slot: str) -> TaskChange:
    return TaskChange(task=task, event=Leased(attempt, (SlotId(slot),)))


async def test_a_database_without_room_for_a_connection_is_reported_with_what_to_do(
    pool: Pool, database_url: str
) -> None:
    """A full disk and a lack of connections are of one class of PostgreSQL's errors (53); a role shows the latter."""
    role = f"narrow_{uuid4().hex[:8]}"
    await pool.execute(f"create role {role} login connection limit 0")
    url = database_url.replace("postgres:@", f"{role}:@")
    try:
        for opening in (connect(url), open_pool(url)):
            with pytest.raises(DatabaseFullError, match="has no room left: too many connections for role") as caught:
                await opening
            assert "free space on the database's disk" in str(caught.value.hint)
    finally:
        await pool.execute(f"drop role {role}")
