"""Reading this machine, and limits laid out as the kernel lays them out."""

from __future__ import annotations

from pathlib import Path

from corral.telemetry.doctor import look
from corral.telemetry.machine import CgroupLimits, describe, read_limits

GIB = 2**30


def a_group(root: Path, group: str, **files: str) -> None:
    """Lay out one control group; file names are given with `_` for `.`."""
    folder = root / "sys/fs/cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        kind, _, rest = name.partition("_")
        (folder / f"{kind}.{rest}").write_text(text)


def in_group(root: Path, group: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"0::/{group}\n")


def test_this_machine_is_described(tmp_path: Path) -> None:
    machine = describe(tmp_path)

    assert machine.hostname
    assert machine.cpu_cores >= 1
    assert 0 < machine.memory_available <= machine.memory_total
    assert machine.disk_free > 0


def test_disk_space_is_found_for_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert describe(tmp_path / "data" / "models").disk_free > 0


def test_this_machine_is_examined(tmp_path: Path) -> None:
    assert [finding.name for finding in look(tmp_path)][:2] == ["Python", "driver"]


def test_without_control_groups_there_are_no_limits(tmp_path: Path) -> None:
    assert read_limits(tmp_path) == CgroupLimits()


def test_a_container_counts_the_processor_time_it_is_given(tmp_path: Path) -> None:
    in_group(tmp_path, "")
    a_group(tmp_path, "", cpu_max="150000 100000\n", memory_max="max\n")

    assert read_limits(tmp_path) == CgroupLimits(cpus=1.5)


def test_half_a_processor_is_still_one_thread(tmp_path: Path) -> None:
    in_group(tmp_path, "")
    a_group(tmp_path, "", cpu_max="50000 100000\n")

    assert describe(tmp_path, root=tmp_path).cpu_cores == 1


def test_file_cache_counts_as_available(tmp_path: Path) -> None:
    in_group(tmp_path, "")
    stat = f"anon 1\ninactive_file {GIB}\nactive_file 5\n"
    a_group(tmp_path, "", memory_max=str(4 * GIB), memory_current=str(3 * GIB), memory_stat=stat)

    limits = read_limits(tmp_path)

    assert (limits.memory, limits.memory_available) == (4 * GIB, 2 * GIB)


def test_the_tightest_group_above_the_process_counts(tmp_path: Path) -> None:
    in_group(tmp_path, "outer/inner")
    a_group(tmp_path, "outer", cpu_max="100000 100000", memory_max=str(GIB), memory_current="0")
    a_group(tmp_path, "outer/inner", cpu_max="max 100000", memory_max=str(2 * GIB), memory_current="0")

    limits = read_limits(tmp_path)

    assert (limits.cpus, limits.memory) == (1.0, GIB)


def test_a_memory_limit_bounds_what_the_machine_is_said_to_have(tmp_path: Path) -> None:
    in_group(tmp_path, "")
    a_group(tmp_path, "", memory_max=str(64 * 2**20), memory_current=str(2**20))

    machine = describe(tmp_path, root=tmp_path)

    assert (machine.memory_total, machine.memory_available) == (64 * 2**20, 63 * 2**20)


def test_cards_on_the_bus_are_counted_with_or_without_a_driver(tmp_path: Path) -> None:
    devices = {"01": ("0x10de", "0x030000"), "02": ("0x10de", "0x040300"), "03": ("0x8086", "0x030000")}
    for name, (vendor, kind) in devices.items():
        folder = tmp_path / "sys/bus/pci/devices" / name
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{kind}\n")

    assert describe(tmp_path, root=tmp_path).nvidia_gpus == 1


def test_a_bus_that_cannot_be_seen_has_an_unknown_number_of_cards(tmp_path: Path) -> None:
    assert describe(tmp_path, root=tmp_path).nvidia_gpus is None
