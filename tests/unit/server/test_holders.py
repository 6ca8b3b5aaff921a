"""The name under which a data directory holds leases is kept over restarts and renames, and not shared with a copy."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from corral.server.presence import HOLDER_FILE, holder_of, identify


def test_holder_outlives_restarts_and_a_rename(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    holder = holder_of(folder)
    assert holder_of(folder) == holder
    assert holder_of(folder.rename(tmp_path / "moved")) == holder


def test_copy_of_a_data_directory_has_a_holder_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    holder = holder_of(folder)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert holder_of(copy) != holder
    assert holder_of(copy) == holder_of(copy)
    assert holder_of(folder) == holder


def test_holder_that_was_written_without_its_folder_is_kept(tmp_path: Path) -> None:
    holder = uuid4()
    (tmp_path / HOLDER_FILE).write_text(f"{holder}\n")
    assert holder_of(tmp_path) == holder
    assert holder_of(tmp_path) == holder


def test_roots_of_two_file_systems_are_told_apart_although_their_inodes_are_the_same() -> None:
    roots = Path("/proc"), Path("/sys"), Path("/dev/shm")
    assert len({root.stat().st_ino for root in roots}) == 1
    assert len({identify(root) for root in roots}) == len(roots)


@pytest.mark.parametrize("machine", ["", "uninitialized\n", "unknown"])
def test_machine_without_a_name_is_named_by_its_present_start(tmp_path: Path, machine: str) -> None:
    machine_id, boot_id = tmp_path / "machine-id", tmp_path / "boot_id"
    machine_id.write_text(machine)
    boot_id.write_text(str(uuid4()))
    first = identify(tmp_path, machine_id, boot_id)
    assert identify(tmp_path, machine_id, boot_id) == first
    boot_id.write_text(str(uuid4()))
    assert identify(tmp_path, machine_id, boot_id) != first, "it can be another machine, or the same one later"


def test_machine_with_a_name_keeps_it_when_it_starts_anew(tmp_path: Path) -> None:
    machine_id, boot_id = tmp_path / "machine-id", tmp_path / "boot_id"
    machine_id.write_text(f"{uuid4().hex}\n")
    boot_id.write_text(str(uuid4()))
    first = identify(tmp_path, machine_id, boot_id)
    boot_id.write_text(str(uuid4()))
    assert identify(tmp_path, machine_id, boot_id) == first
