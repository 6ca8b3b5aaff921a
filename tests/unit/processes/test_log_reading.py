"""The log of a process is read from its end, and from where a reader left off."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.processes.bounded_log import BoundedLog
from corral.processes.log_reading import read_after, read_last


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


def test_last_lines_are_read_without_the_one_that_is_not_finished(path: Path) -> None:
    BoundedLog(path).write(b"one\n\ntwo\n10 %\r20 %\rthr")

    assert read_last(path, 3).lines == ("two", "10 %", "20 %")
    assert read_last(path, 0).lines == ()


def test_reader_goes_on_where_it_left_off(path: Path) -> None:
    log = BoundedLog(path)
    log.write(b"one\ntw")
    first = read_last(path, 10)
    log.write(b"o\nthree\n")

    part = read_after(path, first.position)

    assert (first.lines, part.lines) == (("one",), ("two", "three"))
    assert read_after(path, part.position).lines == ()


def test_reader_follows_a_log_that_moves_on(path: Path) -> None:
    log = BoundedLog(path, limit_bytes=40)
    log.write(b"one\ntwo\n")
    position = read_last(path, 10).position
    log.write(b"three\n")
    log.write(b"a line that is long\n")

    part = read_after(path, position)

    assert path.with_name("server.log.1").exists()
    assert part.lines == ("three", "a line that is long")
    assert read_after(path, part.position).lines == ()


def test_reader_that_was_left_behind_gets_what_is_kept(path: Path) -> None:
    log = BoundedLog(path, limit_bytes=20)
    log.write(b"one\n")
    position = read_last(path, 10).position
    for number in range(5):
        log.write(b"line %d\n" % number)

    assert read_after(path, position).lines == ("line 3", "line 4")


@pytest.mark.parametrize("position", ["", "nonsense", "1:2:3", "99999999999999999999999:1"])
def test_nothing_is_printed_yet_or_the_position_means_nothing(path: Path, position: str) -> None:
    assert read_after(path, position).lines == ()
    BoundedLog(path).write(b"one\n")
    assert read_after(path, position).lines == ("one",)


def test_what_steers_a_terminal_is_left_out(path: Path) -> None:
    BoundedLog(path).write(b"red\x1b[0m\x00\n")

    assert read_last(path, 1).lines == ("red [0m ",)
