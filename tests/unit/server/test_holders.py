"""The name under which a data directory holds leases is kept over restarts and renames, and not shared with a copy."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

from corral.server.presence import HOLDER_FILE, holder_of


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
