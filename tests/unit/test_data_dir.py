"""The data directory is checked before a byte is written into it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corral.data_dir import LONGEST_DATA_DIR, SettingsError, prepare_data_dir


def test_data_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    prepare_data_dir(tmp_path / "data")
    assert (tmp_path / "data").stat().st_mode & 0o777 == (0o710 if os.geteuid() == 0 else 0o700)


def test_data_directory_whose_socket_would_lie_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"more than {LONGEST_DATA_DIR}") as caught:
        prepare_data_dir(tmp_path / ("x" * LONGEST_DATA_DIR))
    assert "--data-dir" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []
