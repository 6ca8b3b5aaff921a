"""Speaks to a server that may be dead at any moment: asks until it is answered, within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from corral.data_dir import Presence, find_server

PATIENCE_S = 120.0
RETRY_S = 0.1
ANSWER_S = 10.0


class RefusedError(Exception):
    """The server answered that the request is wrong."""


class PatientClient:
    """A client of whichever server runs on a data directory now."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S))
        self.tries = 0
        """Requests sent, those that got lost too."""

    async def __aenter__(self) -> PatientClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, path: str) -> Any:  # whatever JSON the API answers
        """Read one thing."""
        return await self._ask("GET", path)

    async def post(self, path: str, body: Any, *, key: str | None = None, token: str | None = None) -> Any:  # as above
        """Ask for a change; `key` makes asking again harmless."""
        return await self._ask("POST", path, json=body, key=key, token=token)

    async def leading(self) -> None:
        """Return once a server answers whose dispatcher acts."""
        async with asyncio.timeout(PATIENCE_S):
            while (await self.get("/health/ready"))["dispatcher"] != "leading":  # noqa: ASYNC110 (it is remote)
                await asyncio.sleep(RETRY_S)

    def find_server(self) -> Presence | None:
        """Find the server that runs now; None while there is none."""
        return find_server(self._data_dir)

    async def _ask(self, method: str, path: str, *, json: Any = None, key: str | None = None, token: str | None = None):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                server = self.find_server()
                if server is not None:
                    headers = {"Authorization": f"Bearer {token or server.token}"}
                    headers |= {"Idempotency-Key": key} if key else {}
                    answer = await self._once(server, method, path, headers, json)
                    if answer is not None:
                        return answer
                await asyncio.sleep(RETRY_S)

    async def _once(self, server: Presence, method: str, path: str, headers: Mapping[str, str], json: Any) -> Any:
        self.tries += 1
        try:
            async with self._session.request(method, server.url + path, headers=headers, json=json) as response:
                if response.status in (401, 500, 502, 503):  # 401: the token of a server that is dead by now
                    return None
                body = await response.json()
                if response.status >= 400:
                    raise RefusedError(f"{method} {path}: {response.status} {body}")
                return body
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None


async def wait_for_start(data_dir: Path, *, patience_s: float = 400.0) -> None:
    """Wait until a server has started on a data directory: its first start on a busy machine takes minutes."""
    async with asyncio.timeout(patience_s):
        while find_server(data_dir) is None:  # noqa: ASYNC110 (another process starts it)
            await asyncio.sleep(0.5)
