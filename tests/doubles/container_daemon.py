"""A daemon that runs servers for others, with the programs that ask it: docker, podman, systemctl, journalctl.

Stands for: dockerd, conmon and systemd, whose servers do not descend from who asked for them, and outlive them. It
records every argument list, and starts the double `small_server` in place of an image, a service or a unit. Checked
against the manuals named in `corral.engines.servers.ways`, not against these programs: nothing here shows that they
take the arguments.

As a program (`python container_daemon.py SOCKET NAME ARGUMENT...`) it is one of those that ask: `run`, `up` and
`start` last as long as the server, pass SIGTERM on, and leave it running when they are killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

Json = Any
PROGRAMS = ("docker", "podman", "systemctl", "journalctl")
SMALL = Path(__file__).with_name("small_server.py")


class ContainerDaemon:
    """Runs servers by name; `async with ContainerDaemon(folder) as daemon:` starts it."""

    def __init__(self, folder: Path, *, unit_port: int = 0) -> None:
        self.programs = folder / "bin"
        """The folder of the programs that ask it, for PATH."""
        self.calls: list[tuple[str, ...]] = []
        """Every argument list, the program first."""
        self.environments: list[dict[str, str]] = []
        """What the programs were handed, in the same order."""
        self.unit_port = unit_port
        self._socket = folder / "daemon.sock"
        self._servers: dict[str, asyncio.subprocess.Process] = {}
        self._listener: asyncio.Server | None = None

    @property
    def running(self) -> list[str]:
        """The names of what runs."""
        return [name for name, server in self._servers.items() if server.returncode is None]

    async def __aenter__(self) -> ContainerDaemon:
        self.programs.mkdir(parents=True)
        for name in PROGRAMS:
            program = self.programs / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {self._socket} {name} "$@"\n')
            program.chmod(0o755)
        self._listener = await asyncio.start_unix_server(self._serve, self._socket)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        for name in self.running:
            await self._end(name)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.readline())
        words = asked["words"]
        if "stop_only" not in asked:
            self.calls.append(tuple(words))
            self.environments.append(asked["variables"])
        if words[0] == "journalctl":
            writer.write(b"the unit printed this\n")
            await reader.read()
        elif "rm" in words or "stop" in words:
            await self._end(words[-1])
        else:
            await self._run(words, asked["variables"], writer)
        writer.close()

    async def _run(self, words: list[str], variables: dict[str, str], writer: asyncio.StreamWriter) -> None:
        name = next((word.partition("=")[2] for word in words if word.startswith("--name=")), words[-1])
        published = next((word for word in words if word.startswith("--publish=")), None)
        port = published.split(":")[1] if published else variables.get("CORRAL_PORT") or str(self.unit_port)
        self._servers[name] = server = await asyncio.create_subprocess_exec(
            sys.executable, str(SMALL), port, env={}, start_new_session=True, stderr=asyncio.subprocess.DEVNULL
        )
        writer.write(f"{name} listens\n".encode())
        await server.wait()

    async def _end(self, name: str) -> None:
        server = self._servers.get(name)
        if server is not None and server.returncode is None:
            server.kill()
            await server.wait()


def _ask(path: str, asked: Json) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.sendall(json.dumps(asked).encode() + b"\n")
    return connection


def main() -> None:
    """Ask the daemon, print what it answers, and end when it has."""
    path, words = sys.argv[1], sys.argv[2:]
    asked = {"words": words, "variables": dict(os.environ)}
    name = next((word.partition("=")[2] for word in words if word.startswith("--name=")), words[-1])

    def pass_on(_number: int, _frame: object) -> None:
        if words[0] in ("docker", "podman"):
            _ask(path, {"words": ["rm", name], "stop_only": True}).close()
        else:
            os._exit(143)

    signal.signal(signal.SIGTERM, pass_on)
    with _ask(path, asked) as connection:
        while data := connection.recv(4096):
            sys.stdout.write(data.decode())
            sys.stdout.flush()


if __name__ == "__main__":
    main()
