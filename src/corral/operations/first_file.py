"""The first cluster file of a machine: its inventory, and the servers of engines that answer on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import cast

import aiohttp

from corral.cluster.values import Electricity
from corral.cluster.writing import FoundServer, MachineFacts, write_file
from corral.engine_kinds import ENGINES
from corral.operations.cluster_file import FileText, check_cluster

_PATIENCE_S = 2.0
"""A server on loopback answers its version in milliseconds; one that loads a model can take a second."""
_LARGEST_ANSWER = 64 * 1024


def list_usual_addresses() -> tuple[tuple[str, str], ...]:
    """List the addresses on loopback of each engine that is reached by URL, at the ports of its documentation."""
    return tuple(
        (kind.name, f"http://127.0.0.1:{port}")
        for kind in ENGINES.values()
        if kind.remote and kind.program is not None and kind.program.identity is not None
        for port in (kind.program.port, *kind.program.usual_ports)
        if port is not None
    )


async def find_servers(addresses: Sequence[tuple[str, str]]) -> tuple[FoundServer, ...]:
    """Ask each engine's addresses, at the same time, and return those where a server of the engine answers."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE_S), trust_env=False) as session:
        answers = await asyncio.gather(*(_recognizes(session, engine, url) for engine, url in addresses))
    return tuple(
        FoundServer(engine=engine, url=url)
        for (engine, url), is_recognized in zip(addresses, answers, strict=True)
        if is_recognized
    )


async def _recognizes(session: aiohttp.ClientSession, engine: str, url: str) -> bool:
    program = ENGINES[engine].program
    if program is None or program.identity is None:
        return False
    path, key = program.identity
    try:
        async with session.get(f"{url}{path}", allow_redirects=False) as response:
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > _LARGEST_ANSWER:
                    return False
            answer = json.loads(body) if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False
    return isinstance(answer, dict) and key in cast("dict[str, object]", answer)


def write_first_file(
    facts: MachineFacts, servers: tuple[FoundServer, ...], electricity: Electricity | None, *, name: str
) -> str:
    """Write the file and check it as every command does. Raises: ClusterFileError, which would be a bug."""
    text = write_file(facts, servers=servers, electricity=electricity)
    return check_cluster(FileText(text=text, name=name)).text
