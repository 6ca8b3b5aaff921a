"""Sends one webhook: a signed POST that follows no redirect, ends in time, and stays out of this network.

The address is judged where the socket is made, so it is the one that is connected to, whatever the name resolved to
before, however the URL spells it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from corral import __version__
from corral.cluster.networks import is_reachable
from corral.errors import CorralError, Kind
from corral.notifications.outbox import Message
from corral.notifications.signing import make_headers
from corral.work import Json

TRY_S = 15.0
"""How long a receiver can take for its answer, name and connection included; the specification says 15 to 30 s."""
LONGEST_WAIT = timedelta(hours=1)
"""That a receiver can ask for."""
_GONE = 410
"""The specification: the receiver wants no more of it."""
_BUSY = (429, 503)
_LOOK_UPS = 8
"""Names that are looked up at the same time."""
_threads = ThreadPoolExecutor(_LOOK_UPS, thread_name_prefix="webhook-names")
LookUp = Callable[..., Sequence[tuple[Any, Any, int, str, tuple[Any, ...]]]]  # `socket.getaddrinfo`, and its answer
_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)


class WebhookError(CorralError):
    """A receiver did not take a webhook."""

    code: ClassVar[str] = "webhook.not_taken"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE

    def __init__(self, what: str, *, final: bool = False, wait: timedelta | None = None) -> None:
        """`final` means that no later try can work; `wait` is what the receiver asks for before the next."""
        super().__init__(what)
        self.final = final
        self.wait = wait


def make_body(message: Message) -> bytes:
    """Return the body of a message, the same in every try."""
    return write_body(message.occasion.replace("-", "."), message.at, message.data)


def write_body(kind: str, at: datetime, data: Mapping[str, Json]) -> bytes:
    """Write the body of a webhook in the form that the specification recommends."""
    content = {"type": kind, "timestamp": at.astimezone(UTC).isoformat().replace("+00:00", "Z"), "data": data}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


async def send(
    url: str,
    name: str,
    body: bytes,
    secrets: tuple[bytes, ...],
    *,
    allowed: Collection[str],
    try_s: float = TRY_S,
    now: Callable[[], float] = time.time,
    look_up: LookUp = socket.getaddrinfo,
) -> None:
    """Send a message once; `name` is its id for the receiver. Raises: WebhookError.

    `look_up` finds addresses; it blocks, and can do so for longer than the try.
    """
    headers = {
        **make_headers(name, int(now()), body, secrets),
        "Content-Type": "application/json",
        "User-Agent": f"Corral/{__version__}",
    }
    connector = aiohttp.TCPConnector(
        socket_factory=partial(_make_socket, allowed=allowed),
        force_close=True,
        use_dns_cache=False,
        resolver=_Resolver(look_up),
    )
    try:
        async with (
            asyncio.timeout(try_s),
            aiohttp.ClientSession(connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            _judge(response.status, response.headers)
    except TimeoutError:
        raise WebhookError(f"no answer within {try_s:g} s") from None
    except aiohttp.ClientConnectorError as error:
        raise WebhookError(f"no connection: {error.os_error.strerror or error.os_error}") from error
    except aiohttp.InvalidURL:
        raise WebhookError("its URL cannot be used", final=True) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:  # its text can have the whole URL
        raise WebhookError(f"no answer: {type(error).__name__}") from error


def _judge(status: int, headers: Mapping[str, str]) -> None:
    """Return for an answer that takes the message. Raises: WebhookError."""
    if status in _SUCCESS:
        return
    if status in _REDIRECT:
        raise WebhookError(f"it answered {status}, and redirects are not followed")
    if status == _GONE:
        raise WebhookError(f"it answered {status}: it wants no more messages", final=True)
    raise WebhookError(f"it answered {status}", wait=_read_wait(headers) if status in _BUSY else None)


def _read_wait(headers: Mapping[str, str]) -> timedelta | None:
    seconds = headers.get("Retry-After", "")
    if not (seconds.isascii() and seconds.isdigit()):
        return None
    return min(timedelta(seconds=min(int(seconds), 10**6)), LONGEST_WAIT)


class _Resolver(AbstractResolver):
    """Looks names up in threads of its own: a name server that hangs keeps them, and none that the queue works in."""

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        ask = partial(self._look_up, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        answers = await asyncio.get_running_loop().run_in_executor(_threads, ask)
        return [
            ResolveResult(
                hostname=host,
                host="%".join([target[0], *[str(scope) for scope in target[3:] if scope]]),  # IPv6 can have a scope
                port=target[1],
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, target in answers
        ]

    async def close(self) -> None:
        return


class _InsideError(OSError):
    """The address is not one that requests can go to."""


def _make_socket(address: tuple[Any, ...], allowed: Collection[str]) -> socket.socket:  # as `getaddrinfo` has it
    """Make the socket of one connection. Raises: _InsideError."""
    family, kind, protocol, _, target = address
    host = ipaddress.ip_address(str(target[0]).partition("%")[0])
    if not is_reachable(host, allowed):
        raise _InsideError(0, f"{host} is inside this network, which `webhooks.allowPrivate` does not allow")
    return socket.socket(family=family, type=kind, proto=protocol)
