"""Finds the drives of this machine in /sys/block."""

from __future__ import annotations

import re
from pathlib import Path

from corral.cluster.values import Disk
from corral.units import Bytes

_SECTOR = 512  # the kernel counts in these, whatever the drive's own sectors are
_NOT_DRIVES = re.compile(r"(loop|ram|zram|dm-|md|sr|fd|nbd|zd|drbd|rbd|bcache)\d*|nvme\d+c\d+n\d+|mmcblk\d+(boot|rpmb)")
"""Made of other drives, of memory or of files; removable media; hidden paths of NVMe drives; parts of a flash chip."""
_VIRTUAL = re.compile(r"(vd|xvd)[a-z]+")
"""Drives of a virtual machine: whether they turn is their host's business, and what the kernel says is a default."""


def find_disks(root: Path = Path("/")) -> tuple[Disk, ...]:
    """List the drives by name; partitions, empty card readers and what is made of other drives are left out."""
    folder = root / "sys/block"
    devices = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [_disk(device) for device in devices if not _NOT_DRIVES.match(device.name)]
    return tuple(disk for disk in found if disk is not None)


def _disk(device: Path) -> Disk | None:
    sectors = _text(device / "size")
    if not sectors.isdigit() or int(sectors) == 0 or _text(device / "removable") == "1":
        return None
    return Disk(name=device.name, size=Bytes(int(sectors) * _SECTOR), medium=_medium(device))


def _medium(device: Path) -> str | None:
    if device.name.startswith("nvme"):
        return "nvme"
    if _VIRTUAL.fullmatch(device.name):
        return None
    return {"0": "ssd", "1": "hdd"}.get(_text(device / "queue/rotational"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
