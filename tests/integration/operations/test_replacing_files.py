"""A file is replaced whole or not at all, and never over a change that nobody read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corral.operations.replacing import ChangedMeanwhileError, UnwritableFileError, replace_text


def test_the_new_text_keeps_the_mode_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("old\r\n", newline="")
    file.chmod(0o640)

    replace_text(file, before="old\r\n", after="new\r\n")

    assert file.read_bytes() == b"new\r\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_root_edits_stays_its_owners(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("old")
    owner = (1234, 1234) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(file, *owner)

    replace_text(file, before="old", after="new")

    assert (file.stat().st_uid, file.stat().st_gid) == owner


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("old")
    (tmp_path / "cluster.yaml").symlink_to("real.yaml")

    replace_text(tmp_path / "cluster.yaml", before="old", after="new")

    assert (tmp_path / "cluster.yaml").is_symlink()
    assert (tmp_path / "real.yaml").read_text() == "new"


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("somebody else's")

    with pytest.raises(ChangedMeanwhileError):
        replace_text(file, before="old", after="new")

    assert file.read_text() == "somebody else's"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(UnwritableFileError):
        replace_text(tmp_path / "cluster.yaml", before="old", after="new")

    assert list(tmp_path.iterdir()) == []
