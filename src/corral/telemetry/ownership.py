"""Whose a process is: Corral's own, an instance's of the cluster file, or another program's, by name and user.

Own are the server, all that descends from it, and what carries the mark of its log folder (`corral.processes`): a
worker whose keeper was killed. A process belongs to an instance where it, or one above it, listens on the instance's
port; where files of other users cannot be read, the user who listens must do. A container is known by the id in the
process's control group (`docker-<id>.scope`, `libpod-<id>.scope`, `cri-containerd-<id>.scope`).

In a container of its own, Corral sees none of the machine's process ids: then processes are not distinguished.
Sources: proc_pid_stat(5), proc_pid_cgroup(5), proc_net(5), namespaces(7).
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from corral.processes.leftovers import MARK, is_of
from corral.telemetry.machine import read_kernel_text

LISTENERS_EVERY_S = 10.0
"""The kernel takes some 9 ms for /proc/net/tcp, whatever is in it: as much as everything else of a look, many times."""
_CONTAINER = re.compile(r"(?:docker|libpod|crio|cri-containerd|nerdctl)[-/]([0-9a-f]{64})|/([0-9a-f]{64})(?:/|$)")
_FIRST_NAMESPACE = "pid:[4026531836]"
"""The machine's own process ids (PROC_PID_INIT_INO of include/linux/proc_ns.h)."""
_LISTENS = "0A"
"""TCP_LISTEN in /proc/net/tcp."""
_SHORT_ID = 12
"""Digits of a container's id that people see."""
_FIRST_PERSON = 1000
_MOST_ABOVE = 64
"""Parents that are followed; a chain that is longer is not a tree of programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process as people know it."""

    name: str
    user: str | None
    aliases: frozenset[str]
    is_own: bool
    """Whether it is of this server, its engines or its instances."""
    port: int | None = None
    """Of the instance that it belongs to; None of all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The signs of this server's processes."""

    server: int
    """Its process id."""
    logs: Path
    """The folder of its logs, which marks what it starts."""
    ports: frozenset[int] = frozenset()
    """On which instances of this machine listen, that others start."""
    containers: frozenset[str] = frozenset()
    """Ids of containers that it started."""


@dataclass(frozen=True, slots=True)
class _Listener:
    inode: str
    user: int


@dataclass(slots=True)
class Ownership:
    """Distinguishes processes, and remembers each until another has its id."""

    root: Path = Path("/")
    """Where /proc is found."""
    _known: dict[int, tuple[str, Own, Process]] = field(default_factory=dict[int, tuple[str, Own, Process]])
    _listeners: Mapping[int, _Listener] = field(default_factory=dict[int, _Listener])
    _listeners_due: float = 0.0
    _ports: frozenset[int] = frozenset()

    @property
    def sees_the_machine(self) -> bool:
        """Whether the process ids of the driver are those that are seen here."""
        try:
            return os.readlink(self.root / "proc/self/ns/pid") == _FIRST_NAMESPACE
        except OSError:
            return False

    def has_nvidia_open(self, pid: int) -> bool:
        """Whether a process has one of the driver's files open; False where that cannot be read."""
        return any(target.startswith("/dev/nvidia") for target in self._list_open(pid))

    def refresh(self, own: Own, pids: Collection[int], now_s: float) -> None:
        """Read who listens on the ports of instances, now and then and where one of these processes is new.

        What is remembered of processes is read again if that changed. `now_s` never jumps.
        """
        if now_s < self._listeners_due and own.ports == self._ports and self._known.keys() >= set(pids):
            return
        self._listeners_due, self._ports = now_s + LISTENERS_EVERY_S, own.ports
        listeners = self._read_listeners(own.ports)
        if listeners != self._listeners:
            self._known.clear()
        self._listeners = listeners

    def describe(self, pid: int, own: Own) -> Process | None:
        """Return whose a process is; None when it has ended, or cannot be seen from here."""
        folder = self.root / "proc" / str(pid)
        start = _read_start(folder)
        if start is None:
            self._known.pop(pid, None)
            return None
        known = self._known.get(pid)
        if known is not None and known[:2] == (start, own):
            return known[2]
        process = self._read(pid, folder, own)
        self._known[pid] = start, own, process
        return process

    def forget_all_but(self, pids: Collection[int]) -> None:
        """Drop what is remembered of processes that use no GPU any more."""
        self._known = {pid: known for pid, known in self._known.items() if pid in pids}

    def _read(self, pid: int, folder: Path, own: Own) -> Process:
        names = tuple(_list_names(folder))
        container = find_container(read_kernel_text(folder / "cgroup"))
        name = names[0] if names else f"process {pid}"
        above = list(self._list_above(pid))
        port = self._find_port(folder, above)
        return Process(
            name=name if container is None else f"{name} in container {container[:_SHORT_ID]}",
            user=_find_user(folder),
            aliases=frozenset(names),
            is_own=own.server in above
            or is_of(own.logs, _read_mark(folder))
            or container in own.containers
            or port is not None,
            port=port,
        )

    def _find_port(self, folder: Path, above: Sequence[int]) -> int | None:
        """Return the port of the instance that a process belongs to; `above` begins with the process."""
        if not self._listeners:
            return None
        user, sockets = _user_of(folder), {inode for parent in above for inode in self._list_sockets(parent)}
        for port, listener in self._listeners.items():
            if listener.inode in sockets or (listener.user == user and _is_a_service(listener.user)):
                return port
        return None

    def _list_above(self, pid: int) -> Iterator[int]:
        """Yield a process and those above it, without the first of the machine."""
        for _ in range(_MOST_ABOVE):
            if pid <= 1:
                return
            yield pid
            pid = _read_parent(self.root / "proc" / str(pid))

    def _read_listeners(self, ports: Collection[int]) -> dict[int, _Listener]:
        if not ports:
            return {}
        wanted = {f"{port:04X}": port for port in ports}
        listeners: dict[int, _Listener] = {}
        for table in ("tcp", "tcp6"):
            for line in read_kernel_text(self.root / "proc/net" / table).splitlines()[1:]:
                parts = line.split()
                port = parts[1].rpartition(":")[2]
                if port in wanted and parts[3] == _LISTENS:
                    listeners.setdefault(wanted[port], _Listener(inode=parts[9], user=int(parts[7])))
        return listeners

    def _list_sockets(self, pid: int) -> Iterator[str]:
        targets = self._list_open(pid)
        return (target[8:-1] for target in targets if target.startswith("socket:["))

    def _list_open(self, pid: int) -> Iterator[str]:
        folder = self.root / "proc" / str(pid) / "fd"
        try:
            numbers = os.listdir(folder)
        except OSError:
            return
        for number in numbers:
            with suppress(OSError):  # it was closed meanwhile
                yield os.readlink(folder / number)


def find_container(cgroup: str) -> str | None:
    """Return the id of the container in a process's control groups; None where it is in none."""
    match = _CONTAINER.search(cgroup)
    return None if match is None else match[1] or match[2]


def _is_a_service(user: int) -> bool:
    """Whether a user is a service's own, as `ollama` is: not root, this user or a person (UID_MIN of login.defs(5))."""
    return 0 < user < _FIRST_PERSON and user != os.geteuid()


def _read_start(folder: Path) -> str | None:
    """Return when a process began, in ticks since the machine started; a number that is used again has another."""
    _, _, rest = read_kernel_text(folder / "stat").rpartition(")")
    parts = rest.split()
    return parts[19] if len(parts) > 19 else None


def _read_parent(folder: Path) -> int:
    _, _, rest = read_kernel_text(folder / "stat").rpartition(")")
    parts = rest.split()
    return int(parts[1]) if len(parts) > 1 else 0


def _read_mark(folder: Path) -> str:
    try:
        environment = (folder / "environ").read_bytes()
    except OSError:
        return ""
    prefix = f"{MARK}=".encode()
    values = (entry.removeprefix(prefix) for entry in environment.split(b"\0") if entry.startswith(prefix))
    return next(values, b"").decode(errors="replace")


def _list_names(folder: Path) -> Iterator[str]:
    """Yield the names of a process, that of its command first: the kernel's own is cut after 15 characters."""
    command = read_kernel_text(folder / "cmdline").partition("\0")[0]
    if command:
        yield re.split(r"[/\\]", command)[-1]
    if comm := read_kernel_text(folder / "comm"):
        yield comm
    try:
        yield PurePosixPath(os.readlink(folder / "exe").removesuffix(" (deleted)")).name
    except OSError:
        return


def _user_of(folder: Path) -> int | None:
    match = re.search(r"^Uid:\s+\d+\s+(\d+)", read_kernel_text(folder / "status"), re.MULTILINE)
    return int(match[1]) if match else None


def _find_user(folder: Path) -> str | None:
    user = _user_of(folder)
    if user is None:
        return None
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
