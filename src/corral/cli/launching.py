"""A server in the background, started for a command that needs one and stopped again.

It runs in a session of its own, so that Ctrl-C in the terminal reaches the command and not the server.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil

from corral.cli.options import ROOT
from corral.client.api import Api
from corral.client.connection import Server, find_local_server
from corral.client.remote_errors import RemoteError
from corral.data_dir import SERVER_LOG, Presence, choose_data_dir, default_data_dir, find_server, prepare_data_dir
from corral.errors import CorralError, Kind

START_S = 60.0
"""A cold first start creates the database, on slow disks in some ten seconds."""
RECORDED_S = 10.0
"""How long a server that `server.json` names can take to answer: its database can be away for a moment."""
STOP_S = 60.0
"""The server gives running work a grace period before it ends."""
_LOOK_S = 0.1
LAST_LINES = 15


class ServerStartError(CorralError):
    """The server that was started in the background did not become ready."""

    code: ClassVar[str] = "server.not_started"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class ServerStopError(CorralError):
    """The server did not stop when it was asked to."""

    code: ClassVar[str] = "server.not_stopped"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers."""

    server: Server
    process: subprocess.Popen[bytes] | None = None
    """Its process, when this command started it."""


def choose_server_data_dir(given: Path | None, cluster_file: Path | None) -> Path:
    """Return the data directory of a server: what is given, else what the cluster file says, else the user's own.

    Raises: ClusterFileError, SettingsError when the cluster file cannot be read.
    """
    if given is not None or cluster_file is None:
        return choose_data_dir(given)
    from corral.server.settings import ServerSettings, read_cluster

    own = default_data_dir()
    named = read_cluster(ServerSettings(data_dir=own, cluster_file=cluster_file)).data_dir
    return own if named is None else (cluster_file.absolute().parent / Path(named).expanduser()).absolute()


async def find_running(data_dir: Path) -> Running | None:
    """Return the server of the data directory once it is ready; None when there is none."""
    server = find_local_server(data_dir)
    if server is None:
        return None
    ready = await _wait_until_ready(data_dir, None, RECORDED_S)
    return Running(server=ready) if ready is not None else None


async def start(data_dir: Path, cluster_file: Path | None) -> Running:
    """Start a server in the background and return once it is ready.

    Raises: ServerStartError with the last lines of its log.
    """
    prepare_data_dir(data_dir)
    process = _spawn(data_dir, cluster_file)
    ready: Server | None = None
    try:
        ready = await _wait_until_ready(data_dir, process, START_S)
    finally:
        if ready is None and process.poll() is None:
            process.terminate()
    if ready is None:
        raise _make_start_error(data_dir, process)
    return Running(server=ready, process=process if ready.pid == process.pid else None)


async def stop(running: Running) -> None:
    """Ask the server to stop, and return when it has. Raises: ServerStopError."""
    process = running.process
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.to_thread(process.wait, STOP_S)
    except subprocess.TimeoutExpired as error:
        raise ServerStopError(
            f"the server still runs {STOP_S:.0f} s after it was asked to stop",
            where=f"process {process.pid}",
            hint=f"look at its log, then `kill -9 {process.pid}`; the queue survives that",
        ) from error


def stop_local_server(data_dir: Path) -> Presence | None:
    """Ask the server of a data directory to stop, and return it when it has; None when none runs.

    Raises: ServerStopError, also where it runs in a container of its own, or a service manager would start it again.
    """
    server = find_server(data_dir)
    if server is None:
        return None
    try:
        process = psutil.Process(server.pid)
        if ROOT not in " ".join(process.cmdline()):
            raise psutil.NoSuchProcess(server.pid)
        if unit := _find_unit(server.pid):
            raise ServerStopError(
                f"the server is kept by {unit}, which would start it again",
                where=f"process {server.pid}",
                hint=f"stop the unit: `systemctl {'' if os.geteuid() == 0 else '--user '}stop {unit}`",
            )
        process.terminate()
        _wait_for_end(process)
    except psutil.NoSuchProcess as error:
        if find_server(data_dir) != server:
            return server
        raise ServerStopError(
            "the server is not a process of this system", where=str(data_dir), hint="stop the container that it runs in"
        ) from error
    except psutil.AccessDenied as error:
        raise ServerStopError(
            "the server belongs to another user", where=f"process {server.pid}", hint="stop it as that user"
        ) from error
    except psutil.TimeoutExpired as error:
        raise ServerStopError(
            f"the server still runs {STOP_S:.0f} s after it was asked to stop",
            where=f"process {server.pid}",
            hint=f"look at its log, then `kill -9 {server.pid}`; the queue survives that",
        ) from error
    return server


def _wait_for_end(process: psutil.Process) -> None:
    """Return once it has ended, whether its parent has asked how or not. Raises: psutil.TimeoutExpired."""
    deadline = time.monotonic() + STOP_S
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                raise psutil.TimeoutExpired(STOP_S, process.pid)
            time.sleep(_LOOK_S)


def _find_unit(pid: int) -> str | None:
    """Return Corral's unit of systemd, where a process is in it."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return None
    return next((part for part in groups.strip().split("/") if part == f"{ROOT}.service"), None)


def _spawn(data_dir: Path, cluster_file: Path | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "corral", "up", "--data-dir", str(data_dir), "--port", "0"]
    if cluster_file is not None:
        command += ["--cluster", str(cluster_file.absolute())]
    with (data_dir / SERVER_LOG).open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "NO_COLOR": "1"},
        )


async def _wait_until_ready(data_dir: Path, process: subprocess.Popen[bytes] | None, seconds: float) -> Server | None:
    """Wait for a server that answers; None when it died, or in time did not answer.

    Another server of the same data directory, started at the same moment, is as good as our own.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        server = find_local_server(data_dir)
        if server is not None and await _is_answering(server):
            return server
        if server is None and (process is None or process.poll() is not None):
            return None
        await asyncio.sleep(_LOOK_S)
    return None


async def _is_answering(server: Server) -> bool:
    async with Api(server.url, server.token) as api:
        try:
            await api.get("/health/ready")
        except RemoteError:
            return False
    return True


def _make_start_error(data_dir: Path, process: subprocess.Popen[bytes]) -> ServerStartError:
    code = process.poll()
    ended = f"ended with exit code {code}" if code is not None else f"was not ready within {START_S:.0f} s"
    log = data_dir / SERVER_LOG
    lines = "".join(f"\n    {line}" for line in read_last_lines(log))
    return ServerStartError(
        f"the server {ended}; its log ends with:{lines or ' nothing'}",
        where=str(log),
        hint=f"run `corral up --data-dir {data_dir}` to see it start, or `corral doctor`",
    )


def read_last_lines(log: Path) -> list[str]:
    """Return the last lines of a log, for a message."""
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip() for line in deque(file, LAST_LINES)]
    except FileNotFoundError:
        return []
