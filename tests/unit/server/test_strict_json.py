"""A body is read as RFC 8259 has it, and what cannot be stored is refused with its path."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.gateway.parsing import MAX_VALUES, has_more_values
from corral.server.api.strict_json import (
    MAX_DEPTH,
    MAX_PROBLEMS,
    MalformedJsonError,
    TooManyValuesError,
    UnusableJsonError,
    parse,
)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[NaN]", b"[Infinity]", b"[-Infinity]", b'"\xff"', b"[1,]", b"[" * 100_000, b"1" * 5000, b'"a\x00b"'],
)
def test_what_is_not_json_is_refused_with_a_reason(body: bytes) -> None:
    with pytest.raises(MalformedJsonError):
        parse(body)


def test_every_value_that_cannot_be_stored_is_named_with_its_path() -> None:
    body = rb'{"a": ["ok", "nul \u0000"], "b": {"c": "\ud800"}, "d\u0000": 1, "e": 1e999}'
    with pytest.raises(UnusableJsonError) as caught:
        parse(body)
    assert [problem.where for problem in caught.value.problems] == ["a[1]", "b.c", "d\\u0000", "e"]


def test_a_body_full_of_problems_gets_a_bounded_answer() -> None:
    with pytest.raises(UnusableJsonError) as caught:
        parse(json.dumps(["\x00"] * 1000).encode())
    assert len(caught.value.problems) == MAX_PROBLEMS


def test_whole_surrogate_pairs_are_text() -> None:
    assert parse(rb'"\ud83d\ude00"') == "\N{GRINNING FACE}"


def test_nesting_is_bounded_before_anything_recurses_into_it() -> None:
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(UnusableJsonError, match=f"deeper than {MAX_DEPTH}"):
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"1," * MAX_VALUES + b"1]",
        b"[" + b'"",' * MAX_VALUES + b'""]',
        b"[" + b'{"a":1},' * (MAX_VALUES // 3 + 1) + b"1]",
        b'"' * (2 * MAX_VALUES) + b"," * (MAX_VALUES + 1),
    ],
    ids=["numbers", "strings", "mappings", "strings that nothing separates"],
)
def test_a_body_of_too_many_values_is_refused_whatever_they_are(body: bytes) -> None:
    with pytest.raises(TooManyValuesError):
        parse(body)


_TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
)


@given(_VALUES)
def test_everything_that_can_be_stored_is_read_as_it_is(value: object) -> None:
    assert parse(json.dumps(value).encode()) == value


def _count(value: object) -> tuple[int, int]:
    """Count values and keys, and the lists and mappings among them that are empty."""
    if not isinstance(value, dict | list):
        return 1, 0
    members = list(value.values()) if isinstance(value, dict) else value
    counts = [_count(member) for member in members]
    keys = len(value) if isinstance(value, dict) else 0
    return 1 + keys + sum(count for count, _ in counts), (not members) + sum(empty for _, empty in counts)


@given(_VALUES)
def test_values_and_keys_are_counted_as_there_are(value: object) -> None:
    body = json.dumps(value).encode()
    count, empty = _count(value)

    assert not has_more_values(body, count + empty)
    assert count == 1 or has_more_values(body, count - 2)
