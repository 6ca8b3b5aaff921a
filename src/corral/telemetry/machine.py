"""The machine apart from its GPUs, as far as this process can use it.

A container can be given less than the machine has; what counts is the smaller of the two. Limits are read from cgroup
v2 (https://docs.kernel.org/admin-guide/cgroup-v2.html), in the process's own group and all those above it.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from corral.units import Bytes

_NVIDIA = "0x10de"
_DISPLAY_CLASS = "0x03"
"""PCI base class of display controllers, which includes data centre GPUs (0x0302)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The part of the machine that this process can use; None is unknown."""

    hostname: str
    cpu_model: str | None
    cpu_cores: int
    """Logical processors, at least 1."""
    memory_total: Bytes
    memory_available: Bytes
    """What new programs can take without swapping."""
    disk_free: Bytes
    """Of the file system that holds the path asked about."""
    nvidia_gpus: int | None
    """NVIDIA display controllers on the PCI bus, whether or not a driver runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """The limits of the process's control groups; None means without a limit."""

    cpus: float | None = None
    memory: Bytes | None = None
    memory_available: Bytes | None = None
    """Of `memory`, what is not in use, file cache not counted as use."""


def describe(path: Path, *, root: Path = Path("/")) -> Machine:
    """Look at this machine; `path` is where disk space is needed (its nearest existing parent is asked).

    `root` is where /proc and /sys are found.
    """
    limits, vendors = read_limits(root), list_display_vendors(root)
    memory = psutil.virtual_memory()
    cores = float(len(os.sched_getaffinity(0)))
    return Machine(
        hostname=socket.gethostname(),
        cpu_model=read_cpu_model(root),
        cpu_cores=max(1, int(_choose_smaller(cores, limits.cpus))),
        memory_total=Bytes(int(_choose_smaller(memory.total, limits.memory))),
        memory_available=Bytes(int(_choose_smaller(memory.available, limits.memory_available))),
        disk_free=Bytes(psutil.disk_usage(str(_find_existing(path))).free),
        nvidia_gpus=None if vendors is None else vendors.count(_NVIDIA),
    )


def read_limits(root: Path = Path("/")) -> CgroupLimits:
    """Read the tightest limits of cgroup v2 that hold for this process; none where there is no cgroup v2."""
    cpus: float | None = None
    memory: CgroupLimits = CgroupLimits()
    for group in _list_groups(root):
        quota = _read_quota(_read_text(group / "cpu.max"))
        cpus = quota if cpus is None else _choose_smaller(cpus, quota)
        group_memory = _read_memory(group)
        if group_memory.memory is not None and (memory.memory is None or group_memory.memory < memory.memory):
            memory = group_memory
    return CgroupLimits(cpus=cpus, memory=memory.memory, memory_available=memory.memory_available)


def _list_groups(root: Path) -> Iterator[Path]:
    """Yield the process's own group and those above it; the kernel enforces all of them."""
    match = re.search(r"^0::/(.*)$", _read_text(root / "proc/self/cgroup") or "", re.MULTILINE)
    if match is None or ".." in Path(match[1]).parts:
        return
    top = root / "sys/fs/cgroup"
    group = top / match[1]
    yield group
    while group != top:
        group = group.parent
        yield group


def _read_quota(text: str | None) -> float | None:
    """Read `cpu.max`: microseconds of processor time per period, or `max`."""
    match = re.fullmatch(r"(\d+) (\d+)", (text or "").strip())
    return None if match is None else int(match[1]) / int(match[2])


def _read_memory(group: Path) -> CgroupLimits:
    limit = _parse_number(_read_text(group / "memory.max"))
    if limit is None:
        return CgroupLimits()
    used = _parse_number(_read_text(group / "memory.current"))
    cache = re.search(r"^inactive_file (\d+)$", _read_text(group / "memory.stat") or "", re.MULTILINE)
    reclaimable = int(cache[1]) if cache else 0
    available = None if used is None else Bytes(min(limit, max(0, limit - used + reclaimable)))
    return CgroupLimits(memory=Bytes(limit), memory_available=available)


def read_cpu_model(root: Path = Path("/")) -> str | None:
    """Read the processor's name for itself."""
    match = re.search(r"^model name\s*:\s*(.+)$", _read_text(root / "proc/cpuinfo") or "", re.MULTILINE)
    return " ".join(match[1].split()) if match else None


def list_display_vendors(root: Path = Path("/")) -> tuple[str, ...] | None:
    """List the PCI vendor ids of display controllers (`0x10de`); None where there is no PCI bus to look at."""
    devices = root / "sys/bus/pci/devices"
    if not devices.is_dir():
        return None
    displays = [
        device
        for device in sorted(devices.iterdir())
        if (_read_text(device / "class") or "").startswith(_DISPLAY_CLASS)
    ]
    return tuple((_read_text(device / "vendor") or "").strip() for device in displays)


def _find_existing(path: Path) -> Path:
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def _choose_smaller(have: float, limit: float | None) -> float:
    return have if limit is None else min(have, limit)


def _parse_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdigit() else None


def read_kernel_text(path: Path) -> str:
    """Read a small file of /proc or /sys without the space around it; empty where it cannot be read."""
    return (_read_text(path) or "").strip()


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
