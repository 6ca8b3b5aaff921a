"""Every kind of frozen value has one JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum, IntEnum, StrEnum
from math import inf, nan
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.units import Bytes
from corral.wire import NotWiredError, to_json


class Mood(StrEnum):
    CALM = "calm"


class Level(IntEnum):
    HIGH_UP = 3


class Colour(Enum):
    RED = (255, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    size: Bytes
    mood: Mood
    _hidden: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    leaves: tuple[Leaf, ...]
    by_level: Mapping[Level, Leaf]
    at: datetime
    took: timedelta
    path: Path
    names: frozenset[str] = frozenset()
    extra: Mapping[str, object] = field(default_factory=dict)


def test_a_value_becomes_the_json_of_its_fields() -> None:
    leaf = Leaf(size=Bytes(2**33), mood=Mood.CALM)
    tree = Tree(
        leaves=(leaf,),
        by_level=MappingProxyType({Level.HIGH_UP: leaf}),
        at=datetime(2026, 1, 31, 8, tzinfo=UTC),
        took=timedelta(minutes=1.5),
        path=Path("/a/b"),
        names=frozenset({"b", "a"}),
    )
    leaf_json = {"size": 2**33, "mood": "calm"}
    assert to_json(tree) == {
        "leaves": [leaf_json],
        "by_level": {"high_up": leaf_json},
        "at": "2026-01-31T08:00:00Z",
        "took": 90.0,
        "path": "/a/b",
        "names": ["a", "b"],
        "extra": {},
    }


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Colour.RED, "red"),
        (inf, None),
        (nan, None),
        (True, True),
        (date(2026, 1, 31), "2026-01-31"),
        (datetime(2026, 1, 31, tzinfo=timezone(timedelta(hours=2))), "2026-01-31T00:00:00+02:00"),
        ({1: None}, {"1": None}),
    ],
)
def test_a_scalar_has_one_spelling(value: object, written: object) -> None:
    assert to_json(value) == written


@pytest.mark.parametrize("value", [object(), b"bytes", Leaf, lambda: None])
def test_what_has_no_json_is_refused_rather_than_guessed(value: object) -> None:
    with pytest.raises(NotWiredError):
        to_json(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_what_is_json_already_stays_as_it_is(value: object) -> None:
    assert to_json(value) == value
    assert json.loads(json.dumps(to_json(value))) == value
