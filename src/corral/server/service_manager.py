"""Reports to systemd how the server is: ready, stopping, alive (sd_notify(3), whose protocol is one datagram of text).

The address is taken out of the environment, so that no engine can speak for the server.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager, suppress

_SOCKET = "NOTIFY_SOCKET"
_WATCHDOG = "WATCHDOG_USEC"
_WATCHED_PROCESS = "WATCHDOG_PID"
_EXTENDED_S, _EXTEND_EVERY_S = 60, 15
"""How much longer a start can take from each report on, and the time between two."""


class ServiceManager:
    """The service manager that started this process; where none did, nothing is sent."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """`environment` is the process's own; what is meant for this process alone is removed."""
        address = environment.pop(_SOCKET, "")
        period = environment.pop(_WATCHDOG, "")
        process = environment.pop(_WATCHED_PROCESS, "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        is_watched = bool(address) and period.isdigit() and process in ("", str(os.getpid()))
        self._period_s = int(period) / 1e6 if is_watched else None

    def report_ready(self, url: str) -> None:
        """Report that requests are accepted."""
        self._send(f"READY=1\nSTATUS=listens on {url}")

    @asynccontextmanager
    async def report_longer_start(self, doing: str) -> AsyncGenerator[None]:
        """Report that the start goes on, for as long as something lasts that depends on the size of the data."""
        reporting = asyncio.create_task(self._extend_start(doing), name="longer-start")
        try:
            yield
        finally:
            reporting.cancel()

    async def _extend_start(self, doing: str) -> None:
        while True:
            self._send(f"EXTEND_TIMEOUT_USEC={_EXTENDED_S * 1_000_000}\nSTATUS={doing}")
            await asyncio.sleep(_EXTEND_EVERY_S)

    def report_stopping(self) -> None:
        """Report that a stop was asked for, and what it waits for."""
        self._send("STOPPING=1\nSTATUS=waits for running tasks")

    async def keep_alive(self) -> None:
        """Report for ever that the event loop turns, twice in the time after which the process would be killed."""
        while self._period_s is not None:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._period_s / 2)

    def _send(self, text: str) -> None:
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), self._address)
