"""The lines between a local engine and its worker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.engines.messages import MAX_LINE_BYTES, WireError, decode, encode

ANY_TEXT = st.text(alphabet=st.characters())  # surrogates, line breaks and control characters among them
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(ANY_TEXT, children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(ANY_TEXT, JSON, max_size=4))
def test_every_message_survives_as_one_line_of_ascii(message: dict[str, object]) -> None:
    line = encode(message)

    assert line.isascii()
    assert line.count(b"\n") == 1
    assert decode(line) == message


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, "x" * MAX_LINE_BYTES], ids=["nan", "infinity", "set", "long"]
)
def test_message_that_is_no_json_or_too_long_is_not_sent(value: object) -> None:
    with pytest.raises(WireError):
        encode({"value": value})


@pytest.mark.parametrize("line", [b"{}", b"\n", b"[1]\n", b'{"a":\n', b"\xff\n"])
def test_line_that_is_no_whole_object_is_refused(line: bytes) -> None:
    with pytest.raises(WireError):
        decode(line)
