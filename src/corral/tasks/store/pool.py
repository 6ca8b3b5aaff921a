"""Connections to PostgreSQL, with the codecs that the queries rely on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from typing import Any, ClassVar, Protocol, cast

import asyncpg

from corral.errors import CorralError, Kind

CHANNEL = "corral_events"
"""Where listeners are notified that the story has grown; the payload has the kinds of its new lines."""
ANNOUNCE_EVERY_S = 0.005
"""Pause between two notifications of one pool: each wakes every listener, and takes a lock that all of them share."""

Row = Mapping[str, Any]  # what a column holds is known by the query, not by the driver

COMMAND_TIMEOUT_S = 30.0
"""No statement of ours comes near it; it bounds the wait for a server that stopped answering."""
IDLE_IN_TRANSACTION_S = 10
"""No transaction of ours pauses for that long: the server stands still, and others wait for what it has locked."""
SESSION = {
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S}s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20s",
}
"""PostgreSQL's part: it ends a connection whose other end fell silent, within 25 s over TCP, and frees its locks."""
CONNECTION_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a query between the server's last words and the end of its connection
    OSError,
    TimeoutError,
)
"""What asyncpg raises when the server went away, is starting or does not answer."""


class Queries(Protocol):
    """The part of asyncpg that reads and writes; a pool and a connection both have it."""

    async def fetch(self, query: str, *args: object) -> list[Row]: ...
    async def fetchrow(self, query: str, *args: object) -> Row | None: ...
    async def fetchval(self, query: str, *args: object) -> Any: ...  # see Row
    async def execute(self, query: str, *args: object) -> str: ...
    async def executemany(self, command: str, args: Iterable[Sequence[object]]) -> None: ...


class Connection(Queries, Protocol):
    """One connection: transactions, COPY, LISTEN."""

    def transaction(self) -> AbstractAsyncContextManager[None]: ...
    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Sequence[object]], columns: Sequence[str]
    ) -> str: ...
    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None: ...
    def add_termination_listener(self, callback: Callable[..., None]) -> None: ...
    def is_closed(self) -> bool: ...
    async def close(self, *, timeout: float | None = None) -> None: ...
    def terminate(self) -> None: ...


class Connections(Queries, Protocol):
    """The part of asyncpg's pool that is used."""

    def acquire(self) -> AbstractAsyncContextManager[Connection]: ...
    async def close(self) -> None: ...
    def terminate(self) -> None: ...


class Pool:
    """A bounded set of connections, and the notifications of what was committed over them."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.acquire = connections.acquire
        self.fetch = connections.fetch
        self.fetchrow = connections.fetchrow
        self.fetchval = connections.fetchval
        self.execute = connections.execute
        self.executemany = connections.executemany
        self._kinds: set[str] = set()
        self._announcing: asyncio.Task[None] | None = None

    def announce(self, kinds: Iterable[str]) -> None:
        """Notify listeners soon; what is announced until then goes with it."""
        self._kinds.update(kinds)
        if self._kinds and (self._announcing is None or self._announcing.done()):
            self._announcing = asyncio.create_task(self._announce(), name="announcing")

    async def _announce(self) -> None:
        with suppress(*CONNECTION_LOST, asyncpg.PostgresError):  # the listeners' slow poll makes up for it
            while self._kinds:
                kinds, self._kinds = self._kinds, set()
                await self.execute("select pg_notify($1, $2)", CHANNEL, " ".join(sorted(kinds)))
                await asyncio.sleep(ANNOUNCE_EVERY_S)

    async def close(self) -> None:
        """Send the last notification, wait for queries that are under way, and close every connection."""
        if self._announcing is not None:
            await self._announcing
        await self._connections.close()

    def terminate(self) -> None:
        """Close every connection at once."""
        if self._announcing is not None:
            self._announcing.cancel()
        self._connections.terminate()


class DatabaseUnavailableError(CorralError):
    """PostgreSQL does not answer."""

    code: ClassVar[str] = "database.unavailable"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class DatabaseFullError(DatabaseUnavailableError):
    """PostgreSQL has no room: its disk or memory is full, or all its connections are taken."""

    code: ClassVar[str] = "database.full"


def _encode(value: object) -> bytes:
    return b"\x01" + json.dumps(value, separators=(",", ":")).encode()  # binary jsonb: a version byte, then text


def _decode(data: bytes) -> object:
    return json.loads(data[1:])


_SESSION = "; ".join(f"set {name} = '{value}'" for name, value in SESSION.items())


async def _prepare(connection: Any) -> None:  # asyncpg's connection, before it is narrowed to `Connection`
    await connection.execute(_SESSION)
    await connection.set_type_codec("jsonb", encoder=_encode, decoder=_decode, schema="pg_catalog", format="binary")


async def _leave(connection: object) -> None:
    """Give a connection back as it is: nothing here sets session state, so asyncpg's round trip would undo nothing.

    An open transaction is rolled back by asyncpg all the same.
    """


async def open_pool(url: str, *, size: int = 8) -> Pool:
    """Open a pool of at most `size` connections.

    Raises: DatabaseUnavailableError.
    """
    with translate_loss():
        pool = await asyncpg.create_pool(
            url, min_size=1, max_size=size, init=_prepare, reset=_leave, command_timeout=COMMAND_TIMEOUT_S, timeout=10
        )
    return Pool(cast("Connections", pool))  # asyncpg's own types are partly unknown to a strict checker


async def connect(url: str, *, command_timeout_s: float | None = COMMAND_TIMEOUT_S) -> Connection:
    """Open one connection outside the pool: for a lock, for LISTEN, or for one long statement (None: no timeout).

    Raises: DatabaseUnavailableError.
    """
    with translate_loss():
        connection = cast("Connection", await asyncpg.connect(url, timeout=10, command_timeout=command_timeout_s))
        await _prepare(connection)  # cast: see open_pool
    return connection


@contextmanager
def translate_loss() -> Generator[None]:
    """Let work with the database alone end with an error for people where that is lost, full or cannot read its files.

    Raises: DatabaseUnavailableError.
    """
    try:
        yield
    except (*CONNECTION_LOST, asyncpg.InsufficientResourcesError, asyncpg.PostgresSystemError) as error:
        raise _unavailable(error) from error


def describe_lack(error: asyncpg.InsufficientResourcesError) -> DatabaseFullError:
    """Return what a person reads of PostgreSQL's own error."""
    return DatabaseFullError(
        f"PostgreSQL has no room left: {error}",
        hint="free space on the database's disk, or raise its `max_connections`",
    )


def _unavailable(error: Exception) -> DatabaseUnavailableError:
    if isinstance(error, asyncpg.InsufficientResourcesError):
        return describe_lack(error)
    reason = str(error) or type(error).__name__
    return DatabaseUnavailableError(f"PostgreSQL does not answer: {reason}", hint="run `corral doctor`")
