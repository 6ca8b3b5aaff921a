"""The data directory is checked before a byte is written into it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corral.data_dir import LOCK_FILE, LONGEST_DATA_DIR, SettingsError, prepare_data_dir
from doubles.short_folders import lend_short_folder


def test_data_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    prepare_data_dir(tmp_path / "data")
    assert (tmp_path / "data").stat().st_mode & 0o777 == (0o710 if os.geteuid() == 0 else 0o700)


def test_data_directory_that_is_closed_again_is_opened_to_its_group_and_another_folder_is_not() -> None:
    """systemd closes the state directory of an older unit at each start."""
    with lend_short_folder() as parent:
        used, foreign = parent / "used", parent / "foreign"
        for folder, name in ((used, LOCK_FILE), (foreign, "thesis.tex")):
            folder.mkdir(mode=0o700)
            (folder / name).touch()
            prepare_data_dir(folder)
        assert used.stat().st_mode & 0o777 == (0o710 if os.geteuid() == 0 else 0o700)
        assert foreign.stat().st_mode & 0o777 == 0o700


def test_data_directory_whose_socket_would_lie_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"more than {LONGEST_DATA_DIR}") as caught:
        prepare_data_dir(tmp_path / ("x" * LONGEST_DATA_DIR))
    assert "--data-dir" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []
