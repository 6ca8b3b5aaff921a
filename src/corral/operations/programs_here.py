"""Programs of presets on this machine: those that run, in containers too, and those that could be started.

A program that runs is found by its usual port, by what listens here, and by the ports that containers publish; it
counts when it answers as a server of its engine does. One that does not run is found on the path, or in the folder
where its installer or its users put it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psutil

from corral.engine_kinds import ENGINES
from corral.presets.catalogue import Preset
from corral.processes.leftovers import MARK

CONTAINER_PROGRAMS = ("docker", "podman")
_LIST_ARGUMENTS = ("ps", "--format", "{{.Names}}\t{{.Ports}}")
"""Both programs read the template and print ports alike (docker-ps(1), podman-ps(1))."""
_PATIENCE_S = 5.0
_PUBLISHED = re.compile(r"(?:(?P<host>[0-9.]+|\[[0-9a-fA-F:]+\]):)?(?P<port>\d+)->(?P<inner>\d+)/tcp")
_EVERYWHERE = {"", "0.0.0.0", "[::]", "::", "::1"}
_LOOPBACK = "127.0.0.1"
_INTERPRETERS = {"python", "python3"}
"""Programs that run any other: finding one says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A place where a server of an engine could answer."""

    engine: str
    url: str
    container: str | None = None
    """The container that publishes it, with its program: `ollama (podman)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A process that listens for TCP connections."""

    host: str
    port: int
    program: str
    """The file name of its program."""
    folder: str
    """Where it runs; empty when unknown."""
    parents: tuple[str, ...] = ()
    """The programs that it descends from: Ollama keeps a llama-server of its own for each model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledProgram:
    """A program that could be started here."""

    preset: Preset
    folder: str | None = None
    """The folder of `run`, with `~` for the home directory; None where it needs none."""


def list_usual_addresses() -> tuple[Address, ...]:
    """Return the addresses on loopback of each engine that is reached by URL, at the ports of its documentation."""
    return tuple(Address(engine=engine, url=f"http://{_LOOPBACK}:{port}") for engine, port in _list_usual_ports())


def list_addresses(
    presets: Mapping[str, Preset], *, listeners: Iterable[Listener], containers: Iterable[tuple[str, str]]
) -> tuple[Address, ...]:
    """Return every address that is worth a question, each once; those of containers first, since they have a name.

    `containers` are names and published ports, as `list_containers` returns them.
    """
    addresses = [
        *(address for name, ports in containers for address in _read_ports(name, ports)),
        *list_usual_addresses(),
        *(
            Address(engine=preset.engine, url=f"http://{listener.host}:{listener.port}")
            for listener in listeners
            if not any(parent in _list_names(preset) for preset in presets.values() for parent in listener.parents)
            for preset in presets.values()
            if _is_of(preset, listener)
        ),
    ]
    return tuple({(address.engine, address.url): address for address in reversed(addresses)}.values())[::-1]


def list_installed(
    presets: Mapping[str, Preset],
    *,
    home: Path,
    find_program: Callable[[str], str | None] = shutil.which,
) -> tuple[InstalledProgram, ...]:
    """Return the programs that could be started here; Corral's own environment is not the user's path."""
    return tuple(_find_installed(presets.values(), home, find_program))


def list_containers(find_program: Callable[[str], str | None] = shutil.which) -> tuple[tuple[str, str], ...]:
    """Return the running containers with the ports that they publish, as docker and podman print both. Blocks.

    A program that is not here, or does not answer, has none.
    """
    containers: list[tuple[str, str]] = []
    for program in CONTAINER_PROGRAMS:
        path = find_program(program)
        if path is None:
            continue
        try:
            answer = subprocess.run(
                (path, *_LIST_ARGUMENTS),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        rows = [line.split("\t", 1) for line in answer.stdout.splitlines()] if answer.returncode == 0 else []
        containers += [(f"{row[0]} ({program})", row[1]) for row in rows if len(row) == 2]
    return tuple(containers)


def list_listeners() -> tuple[Listener, ...]:
    """Return the processes that listen here, as far as this user can see them; those of a Corral are left out."""
    return tuple(_look_at_listeners())


def _list_usual_ports() -> Iterator[tuple[str, int]]:
    for kind in ENGINES.values():
        if kind.remote and kind.program is not None and kind.program.identity is not None:
            for port in (kind.program.port, *kind.program.usual_ports):
                if port is not None:
                    yield kind.name, port


def _read_ports(name: str, ports: str) -> Iterator[Address]:
    for published in _PUBLISHED.finditer(ports):
        host = _LOOPBACK if (published["host"] or "") in _EVERYWHERE else published["host"]
        for engine, port in _list_usual_ports():
            if port == int(published["inner"]):
                yield Address(engine=engine, url=f"http://{host}:{published['port']}", container=name)


def _is_of(preset: Preset, listener: Listener) -> bool:
    if preset.start.needs_file is not None:
        return bool(listener.folder) and (Path(listener.folder) / preset.start.needs_file).is_file()
    return listener.program in _list_names(preset)


def _list_names(preset: Preset) -> set[str]:
    return {program.rpartition("/")[2] for program in preset.start.programs} - _INTERPRETERS


def _find_installed(
    presets: Iterable[Preset], home: Path, find_program: Callable[[str], str | None]
) -> Iterator[InstalledProgram]:
    for preset in presets:
        if preset.start.needs_file is not None:
            for folder in preset.start.folders:
                if (home / folder.removeprefix("~/") / preset.start.needs_file).is_file():
                    yield InstalledProgram(preset=preset, folder=folder)
        elif any(find_program(program) for program in _list_names(preset).intersection(preset.start.programs)):
            yield InstalledProgram(preset=preset)


def _look_at_listeners() -> Iterator[Listener]:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or connection.pid is None:
            continue
        try:
            process = psutil.Process(connection.pid)
            if MARK in process.environ():
                continue
            host, port = cast("tuple[str, int]", connection.laddr)  # one that listens has an address
            yield Listener(
                host=_LOOPBACK if host in _EVERYWHERE else host,
                port=port,
                program=process.name(),
                folder=process.cwd(),
                parents=tuple(parent.name() for parent in process.parents()),
            )
        except (psutil.Error, OSError):
            continue
