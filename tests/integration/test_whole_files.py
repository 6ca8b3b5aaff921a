"""A file is replaced whole or not at all, and never over a change that nobody read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corral.files import ChangedMeanwhileError, UnwritableFileError, replace_text, write_whole


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


def test_a_secret_is_never_readable_by_others_not_even_over_an_older_file(tmp_path: Path) -> None:
    file = tmp_path / "server.json"
    file.write_text("old")
    file.chmod(0o644)

    write_whole(file, "new", mode=0o600)

    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o600)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "answers.json"
    file.write_text("old")

    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "half of a pair: \ud800")

    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()

    write_whole(tmp_path / "new", b"bytes")

    assert (tmp_path / "new").read_bytes() == b"bytes"
    assert (tmp_path / "new").stat().st_mode == other.stat().st_mode


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, "text")
        assert os.read(reader, 100) == b"text"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
