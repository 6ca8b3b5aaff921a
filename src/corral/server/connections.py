"""HTTP connections, bounded in number and in patience: a client that sends half a request holds nothing for long.

Uvicorn waits for ever for the rest of a request. Here a request's head must be complete within `head_s`, and its body
must arrive at a least rate, as Apache's mod_reqtimeout has it (20 s; 500 bytes a second). Connections over the
limit are answered 503 and closed at once, so that descriptors are left for database, engines and files.

Once a request has shown whose it is, its connection counts for that owner, who can have a part of all connections.

Belongs here: what uvicorn does not bound.
Does not belong here: who asks (`auth`), what is asked (`api`).
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar, Protocol, cast

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from corral.errors import CorralError, Kind
from corral.gateway.asgi import CONNECTION

RESERVED_DESCRIPTORS = 256
"""For database connections, engine processes (three pipes each), logs and listeners; a server with ten slots has 90."""
DESCRIPTORS_EACH = 2
"""Of a connection: its socket, and the file that it downloads or uploads."""
WANTED_DESCRIPTORS = 65_536
"""The soft limit to ask for; systems start programs with 1,024 for the sake of `select`, which nothing here uses."""
_GRACEFUL_SHUTDOWN_S = 3
_KEEP_ALIVE_S = 75
"""How long a connection between two requests is kept, as nginx keeps it: after uvicorn's 5 s, requests of clients with
kept connections meet one that closes just then."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Bounds of the connections to one server."""

    connections: int
    head_s: float = 20.0
    """How long a request's head can take, from the connection or from the first byte of a later request."""
    body_s: float = 20.0
    """How often the rate of a body is looked at."""
    body_rate: int = 500
    """Bytes a second that a body must bring at least."""

    @property
    def of_one_owner(self) -> int:
        """How many connections one owner can have where the cluster file does not say: a quarter of all."""
        return max(1, self.connections // 4)


class OwnerConnectionsError(CorralError):
    """An owner has as many connections as it can have."""

    code: ClassVar[str] = "server.owner_connections"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


def raise_descriptor_limit() -> ConnectionLimits:
    """Raise this process's soft limit of open files, and return what connections can have of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(WANTED_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return ConnectionLimits(connections=count_connections(WANTED_DESCRIPTORS if soft < 0 else soft))


def count_connections(descriptors: int) -> int:
    """Return how many connections a process with so many descriptors can serve; at least one."""
    return max(1, (descriptors - RESERVED_DESCRIPTORS) // DESCRIPTORS_EACH)


class ExplainRefusal(Protocol):
    """Knows which connections are not taken."""

    def __call__(self, port: int, address: str) -> str | None:
        """Say why a connection from an address to a port is not taken; None when it is."""
        ...


def take_all(port: int, address: str) -> None:
    """Take every connection."""


def make_server_config(
    app: Any,  # an ASGI application, as uvicorn has it
    limits: ConnectionLimits,
    refuse: ExplainRefusal = take_all,
) -> uvicorn.Config:
    """Return uvicorn's settings for an application behind bounded connections."""
    facts = {"limits": limits, "owners": Counter[str](), "refuse": staticmethod(refuse)}
    protocol = type("LimitedConnection", (Connection,), facts)
    return uvicorn.Config(
        app,
        http=protocol,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # uvicorn trusts every program on loopback; `corral.server.proxies` only those named
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACEFUL_SHUTDOWN_S,
    )


class _Awaited(Enum):
    """What must arrive for a connection to be kept."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class Connection(HttpToolsProtocol):
    """A connection whose requests must arrive in time."""

    limits: ClassVar[ConnectionLimits]
    owners: ClassVar[Counter[str]]
    """How many connections each owner has: those that brought a request of its last."""
    refuse: ClassVar[ExplainRefusal]
    _owner: str | None = None
    _awaited: _Awaited = _Awaited.HEAD
    """What must arrive now."""
    _deadline: asyncio.TimerHandle | None = None
    """Of that; what arrives whole in one piece needs none, and a timer for each costs more than the rest of this."""
    _received: int = 0
    """Bytes of the present body since its rate was looked at."""
    _is_lost = False
    _when_lost: list[Callable[[], None]]

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._when_lost = []
        reason = self.explain_refusal()
        if reason is not None:
            _log.warning("connection_not_allowed", server=self.server, client=self.client)
            self._refuse(403, reason)
            return
        if len(self.connections) > self.limits.connections:
            _log.warning("connection_refused", open=len(self.connections), limit=self.limits.connections)
            self._refuse(503, f"{self.limits.connections} connections are open; come back later")
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._await(_Awaited.NOTHING)
        self._give_back()
        super().connection_lost(exc)
        for call in tuple(self._when_lost):
            call()

    def data_received(self, data: bytes) -> None:
        if self._awaited is _Awaited.NOTHING and self._is_idle:  # blank lines begin no request, and end uvicorn's wait
            self._awaited = _Awaited.HEAD
        super().data_received(data)
        if self._awaited is not _Awaited.NOTHING and self._deadline is None and not self.transport.is_closing():
            self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, object]", self.scope)[CONNECTION] = self  # uvicorn's type lists the keys that ASGI has
        if self._awaited is _Awaited.NOTHING:
            self._awaited = _Awaited.HEAD

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._await(_Awaited.BODY)
        self._received = 0

    def on_body(self, body: bytes) -> None:
        self._received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._await(_Awaited.NOTHING)
        super().on_message_complete()

    def call_when_lost(self, call: Callable[[], None]) -> bool:
        """Have this called when the connection is lost; False where it is lost already."""
        if not self._is_lost:
            self._when_lost.append(call)
        return not self._is_lost

    def call_no_more(self, call: Callable[[], None]) -> None:
        """Forget what would be called."""
        self._when_lost.remove(call)

    def explain_refusal(self) -> str | None:
        """Say why this connection is not taken; None when it is."""
        if self.server is None or self.client is None:
            return None
        return self.refuse(self.server[1] or 0, self.client[0])

    def count_for(self, owner: str, most: int | None) -> None:
        """Count this connection as one of the owner, who can have `most`. Raises: OwnerConnectionsError."""
        if self._owner == owner:
            return
        self._give_back()
        allowed = self.limits.of_one_owner if most is None else most
        if self.owners[owner] >= allowed:
            raise OwnerConnectionsError(
                f"{owner!r} has {allowed} connections to this server",
                hint="close some, or raise `server.limits.perOwner.connections` in the cluster file",
            )
        self._owner = owner
        self.owners[owner] += 1

    def _give_back(self) -> None:
        if self._owner is not None:
            self.owners[self._owner] -= 1
            if not self.owners[self._owner]:
                del self.owners[self._owner]
            self._owner = None

    @property
    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # uvicorn has None there before the first request
        return cycle is None or cycle.response_complete

    def _await(self, awaited: _Awaited) -> None:
        """Set what must arrive from now on; the deadline of what was awaited before is over."""
        self._awaited = awaited
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _wait(self) -> None:
        """Set the deadline of what is awaited."""
        if self._awaited is _Awaited.BODY:
            self._deadline = self.loop.call_later(self.limits.body_s, self._look_at_body)
            return
        reason = f"the request's head was not complete within {self.limits.head_s:g} s"
        self._deadline = self.loop.call_later(self.limits.head_s, self._refuse, 408, reason)

    def _look_at_body(self) -> None:
        """Close when the body is too slow, or comes although the request was answered; a full buffer is not slow."""
        slow = self._received < self.limits.body_rate * self.limits.body_s and not self.flow.read_paused
        if self.cycle.response_complete:
            self.transport.close()
        elif slow:
            self._refuse(408, f"the body brought less than {self.limits.body_rate} bytes a second")
        else:
            self._received = 0
            self._wait()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer, unless an answer has begun, and close."""
        self._deadline = None
        if self._is_idle or not self.cycle.response_started:
            head = f"HTTP/1.1 {status} \r\nconnection: close\r\ncontent-type: text/plain\r\n"
            self.transport.write(f"{head}content-length: {len(reason)}\r\n\r\n{reason}".encode())
        self.transport.close()
