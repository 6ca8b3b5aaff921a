"""Holds from the side of the program that has them: taken, kept by renewing, given back.

The server can be away meanwhile: it restarts, with another token; what was granted stays granted. So every call after
the first one finds the server anew, and goes on when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import ClassVar
from uuid import uuid4

import aiohttp

from corral.client.api import Api
from corral.client.connection import NoServerError, Server
from corral.client.remote_errors import (
    RemoteConflictError,
    RemoteDeniedError,
    RemoteError,
    RemoteMissingError,
    RemoteUnavailableError,
)
from corral.errors import CorralError, Kind
from corral.work import Json

HOLDS = "/corral/v1/holds"
TTL_S = 60.0
"""As the server's own default."""
RENEW_S = 5.0
"""So that a holder learns within this time that it must stop."""
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.2, 1.0
_RELEASE_S = 10.0
"""How long a server that is away is waited for to be given GPUs back; after that, it takes them back by itself."""
_ASK_S = 10.0
"""How long a lost answer is asked for again; a restart takes less."""
_AWAY = (RemoteUnavailableError, RemoteDeniedError, NoServerError)
"""While a server restarts: no answer, no server, or one that has another token by now."""


class HoldLostError(CorralError):
    """A hold ended before its program did."""

    code: ClassVar[str] = "hold.lost"
    kind: ClassVar[Kind] = Kind.CONFLICT


class Holder:
    """One hold; `close` must follow."""

    def __init__(
        self,
        find_server: Callable[[], Server],
        *,
        seen: Callable[[Json], None] = lambda _: None,
        renew_s: float = RENEW_S,
    ) -> None:
        """`seen` is called with the hold each time it was looked at while it waits."""
        self._find_server = find_server
        self._seen = seen
        self._renew_s = renew_s
        self._api: Api | None = None
        self.hold: Json = None
        """As the server described it last; None before it was asked for."""
        self._renewed_at = 0.0
        self._refused_since: float | None = None

    async def take(self, asked: Mapping[str, Json]) -> Json:
        """Ask for a hold, and return it once it is granted. Raises: HoldLostError, RemoteError, NoServerError."""
        await self.ask(asked)
        return await self.wait()

    async def ask(self, asked: Mapping[str, Json]) -> Json:
        """Ask for a hold, and return it as it waits. Raises: RemoteError, NoServerError.

        Where the answer was lost, it is asked for again: the hold can be there, and would get GPUs that nothing uses.
        """
        key, lost_at = uuid4().hex, None
        now = asyncio.get_running_loop().time
        while True:
            try:
                api = await self._connect()
                self.hold = await api.post(HOLDS, dict(asked), idempotency_key=key)
                return self.hold
            except _AWAY as error:
                await self.close()
                if lost_at is None:
                    if not _can_have_arrived(error):
                        raise
                    lost_at = now()
                if now() - lost_at > _ASK_S:
                    raise
            await asyncio.sleep(_FIRST_LOOK_S)

    async def find(self, id: int) -> Json:
        """Go on with a hold that was asked for before. Raises: RemoteError, NoServerError."""
        api = await self._connect()
        self.hold = await api.post(f"{HOLDS}/{id}/renew")
        return self.hold

    async def wait(self) -> Json:
        """Return the hold once it is granted. Raises: HoldLostError when it ends before."""
        pause_s = _FIRST_LOOK_S
        now = asyncio.get_running_loop().time
        self._renewed_at = now()
        while self.hold["state"] in ("waiting", "starting"):
            self._seen(self.hold)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_LOOK_S)
            if now() - self._renewed_at >= self._renew_s:
                self._renewed_at = now()
                await self._look("POST", "/renew")
            else:
                await self._look("GET", "")
        if self.hold["state"] != "granted":
            raise HoldLostError(describe_loss(self.hold), hint="look at it with `corral tasks show`")
        return self.hold

    async def keep(self) -> Json:
        """Renew until the program must stop, and return the hold as it is then."""
        while True:
            await asyncio.sleep(self._renew_s)
            await self._look("POST", "/renew")
            if self.hold["state"] in ("ending", "ended"):
                return self.hold

    async def release(self) -> None:
        """Give it back, as far as the server answers in time."""
        if self.hold is None:
            return
        with suppress(TimeoutError, CorralError):
            async with asyncio.timeout(_RELEASE_S):
                while self.hold["state"] != "ended":
                    await self._look("DELETE", "")
                    if self.hold["state"] != "ended":
                        await asyncio.sleep(_FIRST_LOOK_S)

    async def close(self) -> None:
        """Close the connection."""
        api, self._api = self._api, None
        if api is not None:
            await api.__aexit__(None, None, None)

    async def _connect(self) -> Api:
        if self._api is None:
            server = self._find_server()
            self._api = Api(server.url, server.token)
        return self._api

    async def _look(self, method: str, path: str) -> None:
        """Ask the server for the hold; while it is away, what was known stays."""
        where = f"{HOLDS}/{self.hold['id']}{path}"
        try:
            api = await self._connect()
            match method:
                case "POST":
                    self.hold = await api.post(where)
                case "DELETE":
                    self.hold = await api.delete(where)
                case _:
                    self.hold = await api.get(where)
            self._refused_since = None
        except (RemoteConflictError, RemoteMissingError) as error:
            self.hold = {**self.hold, "state": "ended", "because": error.what}
        except (RemoteError, NoServerError) as error:
            await self.close()
            self._note_refusal(error)

    def _note_refusal(self, error: CorralError) -> None:
        """Count a hold as lost that could not be renewed for its whole time, and not because the server was away.

        A single refusal, or a failure within the server, does not end a program.
        """
        if isinstance(error, RemoteUnavailableError | NoServerError):
            self._refused_since = None
            return
        now = asyncio.get_running_loop().time()
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since > TTL_S:
            self.hold = {**self.hold, "state": "ended", "because": error.what}


def _can_have_arrived(error: CorralError) -> bool:
    """Whether the server can have taken a request although this came of it."""
    return isinstance(error, RemoteUnavailableError) and not isinstance(error.__cause__, aiohttp.ClientConnectorError)


def describe_loss(hold: Json) -> str:
    """Say why a hold has ended, or must end."""
    because = {
        "over": "its time is over",
        "closed": "the hours of its GPUs or queue are over",
        "expired": "it was not renewed in time",
        "released": "it was given back",
        "cancelled": "it was cancelled",
    }
    error = hold.get("error")
    reason = error["what"] if error else because.get(hold["because"], hold["because"] or "it has ended")
    return f"hold {hold['id']}: {reason}"
