"""Taking the inventory of a machine whose /proc, /sys and /etc are laid out as the kernel lays them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.cluster.values import Disk
from corral.telemetry.inventory import find_addresses, find_disks, read_os_release, take_inventory
from corral.telemetry.machine import list_display_vendors
from corral.telemetry.nvml import NvmlReading, NvmlStatus

NO_DRIVER = NvmlReading(status=NvmlStatus.NO_LIBRARY, reason="not found")


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def a_drive(root: Path, name: str, *, sectors: int, rotational: int = 0, removable: int = 0) -> None:
    write(root, f"sys/block/{name}/size", f"{sectors}\n")
    write(root, f"sys/block/{name}/removable", f"{removable}\n")
    write(root, f"sys/block/{name}/queue/rotational", f"{rotational}\n")


def test_drives_are_listed_and_what_is_made_of_them_is_not(tmp_path: Path) -> None:
    a_drive(tmp_path, "nvme0n1", sectors=2**31)
    a_drive(tmp_path, "sda", sectors=2**33, rotational=1)
    a_drive(tmp_path, "sdb", sectors=2**30)
    a_drive(tmp_path, "vda", sectors=2**29, rotational=1)
    a_drive(tmp_path, "sdc", sectors=2**20, removable=1)
    a_drive(tmp_path, "sdd", sectors=0)
    for other in ("loop0", "ram0", "zram0", "dm-0", "md127", "sr0", "nvme0c0n1", "mmcblk0boot0"):
        a_drive(tmp_path, other, sectors=2**20)

    assert find_disks(tmp_path) == (
        Disk(name="nvme0n1", size=2**40, medium="nvme"),
        Disk(name="sda", size=2**42, medium="hdd"),
        Disk(name="sdb", size=2**39, medium="ssd"),
        Disk(name="vda", size=2**38, medium=None),
    )


@pytest.mark.parametrize(
    ("text", "system"),
    [
        ('NAME="NixOS"\nID=nixos\nVERSION_ID="25.05"\n', ("nixos", "25.05")),
        ("ID='pop'\n", ("pop", None)),
        ('ID="\n', (None, None)),
        ("", (None, None)),
    ],
)
def test_the_system_is_what_os_release_says(tmp_path: Path, text: str, system: tuple[str | None, str | None]) -> None:
    write(tmp_path, "etc/os-release", text)

    assert read_os_release(tmp_path) == system


def test_without_a_default_route_no_address_leads_out(tmp_path: Path) -> None:
    first, every = find_addresses(tmp_path)

    assert first is None
    assert "127.0.0.1" not in every


def test_display_controllers_are_known_by_their_maker(tmp_path: Path) -> None:
    assert list_display_vendors(tmp_path) is None
    write(tmp_path, "sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n")
    write(tmp_path, "sys/bus/pci/devices/0000:01:00.0/vendor", "0x1002\n")
    write(tmp_path, "sys/bus/pci/devices/0000:02:00.0/class", "0x020000\n")

    assert list_display_vendors(tmp_path) == ("0x1002",)


def test_what_a_bare_machine_does_not_say_is_unknown(tmp_path: Path) -> None:
    inventory = take_inventory(root=tmp_path, nvml=NO_DRIVER)

    assert (inventory.os, inventory.cpu_model, inventory.disks, inventory.smbios_is_readable) == (None, None, (), False)
    assert inventory.memory > 0
    assert not inventory.memory_is_installed


def test_this_machine_is_described() -> None:
    inventory = take_inventory(nvml=NO_DRIVER)

    assert inventory.hostname
    assert inventory.kernel
    assert inventory.memory > 0
    assert inventory.cpu_threads >= 1
