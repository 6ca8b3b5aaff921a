"""Chooses what fails next, and lets it fail: processes are killed or stand still, the disk is full for a while."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from chaos.kept import Kept
from chaos.small_disk import SmallDisk

WEIGHTS = {
    "server": 20,
    "worker": 20,
    "comfyui": 16,
    "postmaster": 12,
    "backend": 12,
    "frozen server": 8,
    "frozen comfyui": 6,
    "full disk": 6,
}
"""How often each kind is drawn, by default."""
FREEZES_S = (0.5, 1.0, 2.0, 5.0, 20.0)
"""Of the server the last is longer than a leader can be silent."""
FULL_S = (0.5, 2.0, 6.0)


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill that hit something."""

    kind: str
    at: datetime
    slot: str | None
    """The slot behind which the victim stood, where that is known."""


class Killer:
    """Kills at random; the seed decides the order of the kinds, the moment decides the victim."""

    def __init__(
        self,
        *,
        seed: int,
        server: Kept,
        instances: dict[str, Kept],
        data_dir: Path,
        disk: SmallDisk | None,
        weights: Mapping[str, int],
        haste: float,
    ) -> None:
        """`instances` are the ComfyUI doubles by slot; without `disk` it is never full. `haste` shortens all waits."""
        self._draw = random.Random(f"kills {seed}")
        self._draw_victim = random.Random(f"victims {seed}")
        self._server = server
        self._instances = instances
        self._data_dir = data_dir
        self._disk = disk
        self._haste = haste
        self._weights = {kind: weight for kind, weight in weights.items() if disk is not None or kind != "full disk"}
        self._ways: dict[str, Callable[[], str | bool | None]] = {
            "server": self._kill_server,
            "worker": self._kill_worker,
            "comfyui": self._kill_instance,
            "postmaster": self._kill_postmaster,
            "backend": self._kill_backend,
            "frozen server": self._freeze_server,
            "frozen comfyui": self._freeze_instance,
            "full disk": self._fill_disk,
        }

    def first_pause_s(self) -> float:
        """Return when to kill a server that starts: mostly before it is ready."""
        return self._draw_victim.uniform(0.5, 3.5)

    def pause_s(self) -> float:
        """Return how long to wait before the next kill: sometimes it comes before anything has recovered."""
        return self._draw.choice((0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)) * self._draw.uniform(0.5, 1.0) / self._haste

    def kill(self) -> Kill | None:
        """Kill one process; None when there was none of the kind that was drawn."""
        kind = self._draw.choices(list(self._weights), list(self._weights.values()))[0]
        at = datetime.now(UTC)
        hit = self._ways[kind]()
        if hit is False:
            return None
        return Kill(kind, at, hit if isinstance(hit, str) else None)

    def _kill_server(self) -> bool:
        return self._server.kill()

    def _kill_instance(self) -> str | bool:
        slot = self._draw_victim.choice(sorted(self._instances))
        return slot if self._instances[slot].kill() else False

    def _freeze_server(self) -> bool:
        return self._server.freeze(self._draw_victim.choice(FREEZES_S) / self._haste)

    def _freeze_instance(self) -> str | bool:
        slot = self._draw_victim.choice(sorted(self._instances))
        return slot if self._instances[slot].freeze(self._draw_victim.choice(FREEZES_S) / self._haste) else False

    def _fill_disk(self) -> bool:
        return self._disk is not None and self._disk.fill(self._draw_victim.choice(FULL_S) / self._haste)

    def _kill_worker(self) -> bool:
        return self._kill_one_of([process for process in _children(self._server.pid) if _is_worker(process)])

    def _kill_postmaster(self) -> bool:
        pid = postmaster(self._data_dir)
        return pid is not None and self._kill_one_of([psutil.Process(pid)])

    def _kill_backend(self) -> bool:
        return self._kill_one_of(_children(postmaster(self._data_dir)))

    def _kill_one_of(self, processes: list[psutil.Process]) -> bool:
        if not processes:
            return False
        with suppress(ProcessLookupError):
            os.kill(self._draw_victim.choice(processes).pid, signal.SIGKILL)
            return True
        return False


def postmaster(data_dir: Path) -> int | None:
    """Return the PostgreSQL server of the data directory while it lives."""
    with suppress(OSError, ValueError, IndexError, psutil.Error):
        pid = int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        if psutil.Process(pid).name() == "postgres":
            return pid
    return None


def _children(pid: int | None) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return psutil.Process(pid).children() if pid is not None else []
    return []


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return not {"corral.engines.worker", "corral.processes.keeper"}.isdisjoint(process.cmdline())
    return False
