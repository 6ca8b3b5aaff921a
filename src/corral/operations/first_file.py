"""The first cluster file of a machine: its inventory, the servers of engines that answer on it, and those installed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import aiohttp

from corral.cluster.prices import Electricity
from corral.cluster.writing import FoundServer, MachineFacts, write_file
from corral.engine_kinds import ENGINES
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.programs_here import (
    Address,
    InstalledProgram,
    list_addresses,
    list_containers,
    list_installed,
    list_listeners,
)
from corral.presets.catalogue import list_presets

_PATIENCE_S = 2.0
"""A server on loopback answers its version in milliseconds; one that loads a model can take a second."""
_LARGEST_ANSWER = 64 * 1024


async def find_proposals() -> tuple[FoundServer, ...]:
    """Look at this machine, and return the servers that its file proposes."""
    presets = list_presets()
    containers, listeners = await asyncio.gather(asyncio.to_thread(list_containers), asyncio.to_thread(list_listeners))
    running = await find_servers(list_addresses(presets, listeners=listeners, containers=containers))
    return choose_servers(running, list_installed(presets, home=Path.home()))


async def find_servers(addresses: Sequence[Address]) -> tuple[FoundServer, ...]:
    """Ask every address, at the same time, and return those where a server of the engine answers."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE_S), trust_env=False) as session:
        answers = await asyncio.gather(*(_recognizes(session, address.engine, address.url) for address in addresses))
    return tuple(
        FoundServer(engine=address.engine, url=address.url, container=address.container)
        for address, is_recognized in zip(addresses, answers, strict=True)
        if is_recognized
    )


def choose_servers(running: Sequence[FoundServer], installed: Iterable[InstalledProgram]) -> tuple[FoundServer, ...]:
    """Choose what the file proposes: the servers that run, and the first program of every other engine.

    A program that starts with a model of the user's choice is not proposed.
    """
    chosen = list(running)
    for program in installed:
        engine = program.preset.engine
        if program.preset.start.asks_for is None and all(server.engine != engine for server in chosen):
            chosen.append(FoundServer(engine=engine, preset=program.preset.name, folder=program.folder))
    return tuple(chosen)


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
