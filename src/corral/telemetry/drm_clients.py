"""Programs that use GPUs of AMD and Intel, from what the kernel shows of their open files in /proc/*/fdinfo.

The keys are those of https://docs.kernel.org/gpu/drm-usage-stats.html: a client is a file that was opened once,
whatever holds copies of it, and is named by `drm-pdev` and `drm-client-id`. The GPU's own memory is in regions named
`vram` (amdgpu), `vram0` (xe) and `local0` (i915); `drm-resident-*` goes before `drm-memory-*`, which older kernels have
alone. Times are `drm-engine-*` in nanoseconds, or, of xe, `drm-cycles-*` of `drm-total-cycles-*`.

The files of other users' processes can only be read with their rights (ptrace(2)): a process that cannot be read is not
listed, and its memory shows in what the GPU reports as a whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from corral.telemetry.machine import read_kernel_text
from corral.telemetry.sampling import GpuProcess
from corral.units import Bytes

LOOK_AGAIN_S = 10.0
"""Between two looks at a process without such a file; one that has one is read each time, a new one at once."""
_ON_CARD = re.compile(r"drm-(resident|memory)-((?:vram|local)\d*)")
_TIME = re.compile(r"drm-(engine|cycles|total-cycles)-(?!capacity-)(.+)")
_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20}
_NS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class DrmClient:
    """One client as the kernel shows it."""

    pci: str
    id: str
    memory: Bytes | None
    """Of the GPU itself; None where the driver shows no region of it."""
    busy_ns: int
    """On all engines of the GPU, since the client began."""
    cycles: Mapping[str, tuple[int, int]]
    """By engine, of xe: cycles of this client, and cycles that have passed."""


@dataclass(slots=True)
class _Seen:
    client: DrmClient
    at_s: float
    pid: int


def parse_fdinfo(text: str) -> DrmClient | None:
    """Read one file of fdinfo; None where it is not that of a GPU's client with a PCI address."""
    values = dict(re.findall(r"^(drm-[^:]+):[ \t]*(.*?)[ \t]*$", text, re.MULTILINE))
    pci, client = values.get("drm-pdev"), values.get("drm-client-id")
    if not pci or not client:
        return None
    regions: dict[str, dict[str, int]] = {"resident": {}, "memory": {}}
    times: dict[str, dict[str, int]] = {"engine": {}, "cycles": {}, "total-cycles": {}}
    for key, value in values.items():
        if match := _ON_CARD.fullmatch(key):
            regions[match[1]][match[2]] = _read_size(value)
        elif match := _TIME.fullmatch(key):
            times[match[1]][match[2]] = _read_count(value)
    memory = regions["memory"] | regions["resident"]
    totals = times["total-cycles"]
    return DrmClient(
        pci=pci.lower(),
        id=client,
        memory=Bytes(sum(memory.values())) if memory else None,
        busy_ns=sum(times["engine"].values()),
        cycles={name: (cycles, totals[name]) for name, cycles in times["cycles"].items() if name in totals},
    )


def _read_size(value: str) -> int:
    match = re.fullmatch(r"(\d+)\s*(KiB|MiB)?", value)
    return 0 if match is None else int(match[1]) * _UNITS[match[2] or ""]


def _read_count(value: str) -> int:
    match = re.match(r"\d+", value)
    return int(match[0]) if match else 0


@dataclass(slots=True)
class DrmClients:
    """Looks for clients again and again, and remembers those of the last look, from which shares of time follow."""

    root: Path = Path("/")
    """Where /proc is found."""
    _seen: dict[tuple[str, str], _Seen] = field(default_factory=dict[tuple[str, str], _Seen])
    _due: dict[int, float] = field(default_factory=dict[int, float])
    """When a process without clients is looked at again."""

    def list_processes(self, cards: Collection[str], now_s: float) -> dict[str, list[GpuProcess]]:
        """Return the processes with clients of the GPUs at these PCI addresses, by address; `now_s` never jumps.

        Each client counts once, for the process with the lowest id that holds it.
        """
        seen: dict[tuple[str, str], _Seen] = {}
        shares: dict[tuple[str, int], tuple[int | None, float | None]] = {}
        for pid in sorted(self._list_due(now_s)):
            clients = [client for client in self._read_process(pid) if client.pci in cards]
            self._due[pid] = now_s if clients else now_s + LOOK_AGAIN_S
            for client in clients:
                key = client.pci, client.id
                if key not in seen:
                    seen[key] = _Seen(client, now_s, pid)
                    busy = _measure_share(self._seen.get(key), client, now_s)
                    shares[client.pci, pid] = _add(shares.get((client.pci, pid)), client.memory, busy)
        self._seen = seen
        processes: dict[str, list[GpuProcess]] = {card: [] for card in cards}
        for (card, pid), (memory, busy) in shares.items():
            size = None if memory is None else Bytes(memory)
            processes[card].append(GpuProcess(pid=pid, memory=size, busy=None if busy is None else min(1.0, busy)))
        return processes

    def _list_due(self, now_s: float) -> list[int]:
        try:
            names = os.listdir(self.root / "proc")
        except OSError:
            return []
        present = {int(name) for name in names if name.isdecimal()}
        self._due = {pid: due for pid, due in self._due.items() if pid in present}
        return [pid for pid in present if self._due.get(pid, now_s) <= now_s]

    def _read_process(self, pid: int) -> Iterator[DrmClient]:
        folder = self.root / "proc" / str(pid)
        try:
            files = os.listdir(folder / "fd")
        except OSError:  # it has ended, or is another user's
            return
        for number in files:
            try:
                target = os.readlink(folder / "fd" / number)
            except OSError:
                continue
            if target.startswith("/dev/dri/") and (
                client := parse_fdinfo(read_kernel_text(folder / "fdinfo" / number))
            ):
                yield client


def _add(
    before: tuple[int | None, float | None] | None, memory: int | None, busy: float | None
) -> tuple[int | None, float | None]:
    if before is None:
        return memory, busy
    sizes = [size for size in (before[0], memory) if size is not None]
    times = [share for share in (before[1], busy) if share is not None]
    return sum(sizes) if sizes else None, sum(times) if times else None


def _measure_share(before: _Seen | None, client: DrmClient, now_s: float) -> float | None:
    """Return the share of the time in which a client computed since it was seen; None at the first look."""
    if before is None or now_s <= before.at_s:
        return None
    shares = [
        max(0, cycles - before.client.cycles[name][0]) / (total - before.client.cycles[name][1])
        for name, (cycles, total) in client.cycles.items()
        if name in before.client.cycles and total > before.client.cycles[name][1]
    ]
    return max(0, client.busy_ns - before.client.busy_ns) / _NS / (now_s - before.at_s) + sum(shares)
