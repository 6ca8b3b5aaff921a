"""YAML text of plain values: what was written before is looked up, and never taken for another value."""

from __future__ import annotations

from typing import Any

import pytest

from corral.rendering.documents import dump


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1}, "a: 1\n"),
        ({"a": True}, "a: true\n"),
        ({"a": 1.0}, "a: 1.0\n"),
        ({"a": "1"}, "a: '1'\n"),
        ({"a": 0, "b": 0}, "a: 0\nb: 0\n"),
        ({"b": 0, "a": 0}, "b: 0\na: 0\n"),
        ({"a": [1, 2]}, "a:\n  - 1\n  - 2\n"),
    ],
)
def test_values_that_python_takes_for_equal_are_written_as_what_they_are(value: Any, text: str) -> None:
    assert dump(value) == text
    assert dump(value) == text


def test_a_value_that_was_changed_is_written_anew() -> None:
    value: dict[str, Any] = {"a": [1]}
    dump(value)
    value["a"].append(2)
    assert dump(value) == "a:\n  - 1\n  - 2\n"
