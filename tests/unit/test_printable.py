"""What users and engines wrote cannot steer a terminal, and loses nothing for programs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.printable import make_printable, make_printable_json, make_printable_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, caf\u00e9 \u65e5\u672c", "plain, caf\u00e9 \u65e5\u672c"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b31mred", "\\x9b31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("safe\u202etxt.exe", "safe\\u202etxt.exe"),
        ("over\rwritten", "over\\x0dwritten"),
        ("two\r\nlines\tand a tab", "two\nlines\tand a tab"),
    ],
)
def test_what_steers_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert make_printable(text) == shown


def test_a_line_stays_one_line() -> None:
    assert make_printable_line("done\n[error] forged") == "done\\n[error] forged"


@given(st.text())
def test_programs_read_the_same_from_printable_json(text: str) -> None:
    written = make_printable_json(json.dumps({text: text}, ensure_ascii=False))
    assert json.loads(written) == {text: text}
    assert make_printable(written) == written
