"""Runs containers as processes of this machine: starts them, keeps their lines, signals them and enters them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")
LINES = 20_000
"""So many lines are kept of a container; the kubelet keeps 10 MiB."""
LINE_BYTES = 16 * 1024
"""Longer lines are cut into parts, as container runtimes do."""


class StartError(Exception):
    """A container's process could not be started; in the words of the system."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a container wrote."""

    at: datetime
    stream: str
    """stdout or stderr."""
    text: bytes
    """With its end of line, unless the container ended without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a container is run."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    mounts: Sequence[tuple[str, str, bool]]
    """Source on this machine, path in the container, read only."""
    user: int
    group: int
    groups: Sequence[int]
    has_input: bool


@dataclass
class Log:
    """The lines of one run of a container; readers wait for more."""

    lines: deque[Line] = field(default_factory=lambda: deque[Line](maxlen=LINES))
    count: int = 0
    """Lines that were ever written, those that are no longer kept included."""
    is_closed: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    readers: list[asyncio.Queue[tuple[str, bytes] | None]] = field(
        default_factory=list[asyncio.Queue[tuple[str, bytes] | None]]
    )
    """Those who are attached: they get what is written, as it is written."""

    async def follow(self, stream: str, source: asyncio.StreamReader) -> None:
        """Keep what a stream says, to its end."""
        rest = b""
        while part := await source.read(65536):
            for reader in self.readers:
                reader.put_nowait((stream, part))
            *lines, rest = (rest + part).split(b"\n")
            now = datetime.now(UTC)
            await self._add([Line(now, stream, line + b"\n") for line in lines])
            while len(rest) >= LINE_BYTES:
                await self._add([Line(now, stream, rest[:LINE_BYTES])])
                rest = rest[LINE_BYTES:]
        if rest:
            await self._add([Line(datetime.now(UTC), stream, rest)])

    async def close(self) -> None:
        """Say that nothing follows."""
        for reader in self.readers:
            reader.put_nowait(None)
        async with self.changed:
            self.is_closed = True
            self.changed.notify_all()

    async def _add(self, lines: Sequence[Line]) -> None:
        if lines:
            async with self.changed:
                self.lines.extend(lines)
                self.count += len(lines)
                self.changed.notify_all()


class Sandbox:
    """The namespaces that the containers of a pod share: network, names, and shared memory."""

    def __init__(self, process: asyncio.subprocess.Process | None) -> None:
        self._process = process
        self.process_id = os.getpid() if process is None else process.pid
        """The process that holds them; this one for a pod on its host's network."""

    @classmethod
    async def start(cls, *, on_host: bool) -> Sandbox:
        """Make the namespaces, without an interface."""
        if on_host:
            return cls(None)
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--ipc", "--uts", "--"),
            *("sh", "-c", "echo ready; exec sleep infinity"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        await process.stdout.readline()
        return cls(process)

    async def stop(self) -> None:
        """End the namespaces."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class Container:
    """One run of a container."""

    def __init__(self, launcher: asyncio.subprocess.Process, process_id: int, launch: Launch, base: Path) -> None:
        self._launcher = launcher
        self.process_id = process_id
        """Of its first process, on this machine."""
        self._launch = launch
        self._base = base
        self.log = Log()
        self.started_at = datetime.now(UTC)
        self.ended = asyncio.Event()
        self._reading = asyncio.gather(
            *(
                self.log.follow(name, stream)
                for name, stream in (("stdout", launcher.stdout), ("stderr", launcher.stderr))
                if stream is not None
            )
        )

    @classmethod
    async def start(
        cls, launch: Launch, sandbox: Sandbox, hostname: str, base: Path, target: Container | None = None
    ) -> Container:
        """Start a container; `base` is a folder of its own. Raises: StartError."""
        base.mkdir(parents=True, exist_ok=True)
        (base / "root").mkdir(exist_ok=True)
        reader, writer = os.pipe()
        specification = {
            "sandbox": sandbox.process_id,
            "hostname": hostname,
            "target": None if target is None else target.process_id,
            "root": str(base / "root"),
            "report": writer,
            "mounts": list(launch.mounts),
            "argv": list(launch.argv),
            "environment": dict(launch.environment),
            "folder": launch.folder,
            "user": launch.user,
            "group": launch.group,
            "groups": list(launch.groups),
        }
        (base / "specification.json").write_text(json.dumps(specification), encoding="utf-8")
        try:
            launcher = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", sys.executable, "-I", "-S", str(LAUNCHER)),
                str(base / "specification.json"),
                stdin=asyncio.subprocess.PIPE if launch.has_input else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(writer,),
                limit=2**20,
            )
        finally:
            os.close(writer)
        first, _, problem = (await _read_to_end(reader)).partition(b"\n")
        if problem or not first.isdigit():
            errors = b"" if launcher.stderr is None else await launcher.stderr.read()
            await launcher.wait()
            shutil.rmtree(base, ignore_errors=True)
            raise StartError((problem or errors).decode(errors="replace").strip())
        return cls(launcher, int(first), launch, base)

    async def wait(self) -> int:
        """Wait for its end. Returns its exit code, 128 + the signal's number when one ended it."""
        code = await self._launcher.wait()
        # What it left running keeps its output open, but nothing survives its first process.
        await self._reading
        await self.log.close()
        self.ended.set()
        shutil.rmtree(self._base, ignore_errors=True)
        return code if code >= 0 else 128 - code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its first process; SIGKILL ends all of them."""
        with suppress(ProcessLookupError):
            os.kill(self.process_id, number)

    def write_input(self) -> asyncio.StreamWriter | None:
        """Give the container's standard input, when its pod asks for one."""
        return self._launcher.stdin

    def has(self, program: str) -> bool:
        """Whether the container has a program, which is a path or on its own path."""
        folders = [""] if "/" in program else self._launch.environment.get("PATH", os.defpath).split(":")
        root = Path(f"/proc/{self.process_id}/root")
        return any(os.path.lexists(root / folder.lstrip("/") / program.lstrip("/")) for folder in folders)

    def enter(self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None) -> list[str]:
        """Make the command that runs another one inside, as `kubectl exec` does."""
        variables = {**self._launch.environment, **(environment or {})}
        identity = [f"--setuid={self._launch.user}", f"--setgid={self._launch.group}"]
        here = ["nsenter", "--target", str(self.process_id), "--mount", "--uts", "--ipc", "--net", "--pid", "--root"]
        return [
            *here,
            f"--wdns={self._launch.folder}",
            *identity,
            "--",
            "env",
            "-i",
            *(f"{name}={value}" for name, value in variables.items()),
            *argv,
        ]


async def run_inside(container: Container, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
    """Run a command in a container. Returns its exit code and output. Raises: TimeoutError."""
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", *container.enter(argv)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode(errors="replace")


async def _read_to_end(descriptor: int) -> bytes:
    loop = asyncio.get_running_loop()
    stream = asyncio.StreamReader()
    with os.fdopen(descriptor, "rb") as file:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), file)
        try:
            return await stream.read()
        finally:
            transport.close()
