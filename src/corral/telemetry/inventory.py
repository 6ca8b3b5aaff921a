"""The inventory of this machine: GPUs, processor, memory, drives, power supply, system, addresses.

Each is read from NVIDIA's driver, the kernel or the board's tables; what cannot be found out is None. Names of the GPU
catalogue and the cluster file do not belong here.
"""

from __future__ import annotations

import ipaddress
import os
import platform
import re
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from corral.cluster.values import Disk
from corral.telemetry.kernel_gpus import find_kernel_gpus
from corral.telemetry.machine import list_display_vendors, read_cpu_model, read_kernel_text
from corral.telemetry.nvml import FoundGpu, NvmlReading, find_gpus
from corral.telemetry.smbios import SmbiosTables, read_smbios
from corral.units import Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """One machine; what cannot be found out is None."""

    hostname: str
    address: str | None
    """Of the interface that leads to other networks."""
    addresses: tuple[str, ...]
    """All of its own, without loopback and link-local ones."""
    os: str | None
    """The `ID` of /etc/os-release: `nixos`, `ubuntu`."""
    os_version: str | None
    kernel: str
    cpu_model: str | None
    cpu_cores: int | None
    """Physical cores."""
    cpu_threads: int
    memory: Bytes
    """The installed memory, if the board reports it; else the memory that the kernel manages, a few per cent less."""
    memory_is_installed: bool
    disks: tuple[Disk, ...]
    smbios: SmbiosTables
    smbios_is_readable: bool
    """Whether the board's tables could be read: the kernel lets only root do so."""
    nvml: NvmlReading
    display_vendors: tuple[str, ...] | None
    """PCI vendor ids of display controllers (`0x10de` is NVIDIA); None where there is no PCI bus to look at."""
    other_gpus: tuple[FoundGpu, ...] = ()
    """Of AMD and Intel, integrated ones among them."""


def take_inventory(*, root: Path = Path("/"), nvml: NvmlReading | None = None) -> Inventory:
    """Look at this machine; never raises for what is missing. Blocks for up to a second.

    `root` is where /proc, /sys and /etc are found; `nvml` takes the place of asking the driver.
    """
    smbios = read_smbios(root)
    reading = nvml or find_gpus()
    os_id, os_version = read_os_release(root)
    address, addresses = find_addresses(root)
    installed = smbios.memory if smbios else None
    return Inventory(
        hostname=socket.gethostname(),
        address=address,
        addresses=addresses,
        os=os_id,
        os_version=os_version,
        kernel=platform.release(),
        cpu_model=read_cpu_model(root),
        cpu_cores=psutil.cpu_count(logical=False),
        cpu_threads=os.cpu_count() or 1,
        memory=installed or Bytes(psutil.virtual_memory().total),
        memory_is_installed=installed is not None,
        disks=find_disks(root),
        smbios=smbios or SmbiosTables(),
        smbios_is_readable=smbios is not None,
        nvml=reading,
        display_vendors=list_display_vendors(root),
        other_gpus=find_kernel_gpus(root, after=len(reading.gpus)),
    )


_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_DEFAULT_ROUTE = "00000000"


def read_os_release(root: Path = Path("/")) -> tuple[str | None, str | None]:
    """Read ID and VERSION_ID of os-release (https://www.freedesktop.org/software/systemd/man/os-release.html)."""
    text = next((content for name in _OS_RELEASE if (content := _read_system_text(root / name))), "")
    values = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))
    return _strip_quotes(values.get("ID")), _strip_quotes(values.get("VERSION_ID"))


def find_addresses(root: Path = Path("/")) -> tuple[str | None, tuple[str, ...]]:
    """Return the address that other networks see, and all: of every interface, loopback and link-local left out."""
    by_interface = {
        name: [text for interface in interfaces if (text := _parse_usable(interface.address))]
        for name, interfaces in psutil.net_if_addrs().items()
    }
    leading = by_interface.get(_find_default_interface(root) or "", [])
    everything = dict.fromkeys([*leading, *(text for texts in by_interface.values() for text in texts)])
    return (leading or [None])[0], tuple(everything)


def _find_default_interface(root: Path) -> str | None:
    for line in _read_system_text(root / "proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 1 and fields[1] == _DEFAULT_ROUTE:
            return fields[0]
    return None


def _parse_usable(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:  # a hardware address
        return None
    return None if address.is_loopback or address.is_link_local else str(address)


def _strip_quotes(text: str | None) -> str | None:
    try:
        words = shlex.split(text or "")
    except ValueError:
        return None
    return words[0] if words else None


def _read_system_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


_SECTOR = 512  # the kernel counts in these, whatever the drive's own sectors are
_NOT_DRIVES = re.compile(r"(loop|ram|zram|dm-|md|sr|fd|nbd|zd|drbd|rbd|bcache)\d*|nvme\d+c\d+n\d+|mmcblk\d+(boot|rpmb)")
"""Made of other drives, of memory or of files; removable media; hidden paths of NVMe drives; parts of a flash chip."""
_VIRTUAL = re.compile(r"(vd|xvd)[a-z]+")
"""Drives of a virtual machine: whether they turn is their host's business, and what the kernel reports is a default."""


def find_disks(root: Path = Path("/")) -> tuple[Disk, ...]:
    """List the drives by name; partitions, drives without a medium and drives made of other drives are left out."""
    folder = root / "sys/block"
    devices = sorted(folder.iterdir()) if folder.is_dir() else []
    disks = [_read_disk(device) for device in devices if not _NOT_DRIVES.match(device.name)]
    return tuple(disk for disk in disks if disk is not None)


def _read_disk(device: Path) -> Disk | None:
    sectors = read_kernel_text(device / "size")
    if not sectors.isdigit() or int(sectors) == 0 or read_kernel_text(device / "removable") == "1":
        return None
    return Disk(name=device.name, size=Bytes(int(sectors) * _SECTOR), medium=_find_medium(device))


def _find_medium(device: Path) -> str | None:
    if device.name.startswith("nvme"):
        return "nvme"
    if _VIRTUAL.fullmatch(device.name):
        return None
    return {"0": "ssd", "1": "hdd"}.get(read_kernel_text(device / "queue/rotational"))
