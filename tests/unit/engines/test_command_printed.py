"""What is kept and understood of a program's output."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.engines.printed import Printed


def read(*pieces: bytes) -> list[tuple[float, str]]:
    progress: list[tuple[float, str]] = []
    printed = Printed(lambda fraction, note: progress.append((fraction, note)))
    for piece in pieces:
        printed.take(piece)
    return progress


def test_progress_is_read_from_lines_of_the_documented_form() -> None:
    progress = read(b"hello\ncorral: progress 0.42 step 3 of 7\ncorral: progress 1\r\ncorral: progress .5 \n")

    assert progress == [(0.42, "step 3 of 7"), (1.0, ""), (0.5, "")]


@pytest.mark.parametrize(
    "line", [b"corral: progress\n", b"corral: progress x\n", b"# corral: progress 0.5\n", b"\xff\n"]
)
def test_other_lines_are_no_progress(line: bytes) -> None:
    assert read(line) == []


@given(st.integers(min_value=0, max_value=60))
def test_line_is_understood_however_it_is_cut(cut: int) -> None:
    line = b"before\ncorral: progress 0.25 loading \xc3\xa4\nafter\n"

    assert read(line[:cut], line[cut:]) == [(0.25, "loading ä")]


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_log_keeps_both_ends_and_says_what_is_missing(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    printed = Printed(lambda _fraction, _note: None, kept_bytes=50)
    path = tmp_path_factory.getbasetemp() / "log.txt"
    everything = b"".join(pieces)

    for piece in pieces:
        printed.take(piece)
    printed.write(path)

    missing = max(len(everything) - 100, 0)
    if missing:
        gap = f"\n[... {missing} bytes left out ...]\n".encode()
        assert path.read_bytes() == everything[:50] + gap + everything[-50:]
    else:
        assert path.read_bytes() == everything


def test_endless_line_takes_no_endless_memory(tmp_path: Path) -> None:
    printed = Printed(lambda _fraction, _note: None, kept_bytes=1000)

    for _ in range(100):
        printed.take(b"x" * 10_000)
    printed.write(tmp_path / "log.txt")

    assert (tmp_path / "log.txt").stat().st_size < 2100
    assert len(printed.quote_end()) < 1600
