"""The server that a command calls: the one at a URL, else the one of the data directory.

A running server writes `server.json` into its data directory; a user who can read that file can use the server.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from corral.data_dir import PRESENCE_FILE, choose_data_dir, find_server
from corral.errors import CorralError, Kind
from corral.printable import make_printable_line

if TYPE_CHECKING:
    from corral.client.api import Api

Answer = TypeVar("Answer")


class NoServerError(CorralError):
    """No server runs for the data directory."""

    code: ClassVar[str] = "server.none"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server's address and token."""

    url: str
    token: str | None
    pid: int | None = None
    """Its process on this machine; None for one that was named by URL."""


def call_server(url: str | None, data_dir: Path | None, use: Callable[[Api], Awaitable[Answer]]) -> Answer:
    """Connect to the server, pass it to `use`, and return what that returns.

    Raises: NoServerError, RemoteError.
    """
    import asyncio

    from corral.client.api import Api

    server = locate(url, data_dir)

    async def connect() -> Answer:
        async with Api(server.url, server.token, warn=_print_warning) as api:
            return await use(api)

    return asyncio.run(connect())


def _print_warning(text: str) -> None:
    sys.stderr.write(f"warning: {make_printable_line(text)}\n")


def locate(url: str | None, data_dir: Path | None) -> Server:
    """Return the server that was named, or the one of the data directory. Raises: NoServerError."""
    if url is not None:
        return Server(url=url, token=os.environ.get("CORRAL_TOKEN") or None)
    folder = choose_data_dir(data_dir)
    server = find_local_server(folder)
    if server is None:
        raise NoServerError(
            "no server runs for this data directory",
            where=str(folder),
            hint="start one with `corral up`, or name one elsewhere with `--url`",
        )
    return server


def find_local_server(data_dir: Path) -> Server | None:
    """Return the server that runs on the data directory; None when none does, whatever a file left behind says."""
    # Looking takes the server's lock for an instant, so it is done only where a server has been: one that is just
    # starting removes nothing and writes this file last.
    if not (data_dir / PRESENCE_FILE).exists():
        return None
    presence = find_server(data_dir)
    return None if presence is None else Server(url=presence.url, token=presence.token, pid=presence.pid)
