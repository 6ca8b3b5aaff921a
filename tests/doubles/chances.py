"""Values with a hundred choices, made quickly.

Hypothesis draws one number, and a generator that begins with it makes the choices: some thirty times as fast as a draw
for each, so that a property sees more values in less time. What is given up is shrinking, which takes minutes for such
values; those of a small universe can be read as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from hypothesis import Phase, settings
from hypothesis import strategies as st

Value = TypeVar("Value")
Item = TypeVar("Item")

MANY = settings(max_examples=200, phases=[Phase.explicit, Phase.generate])
"""For properties of such values: a number has nothing to shrink to."""


def draw_by_chance(make: Callable[[Random], Value]) -> st.SearchStrategy[Value]:
    """Draw values of which `make` chooses every part; the same number gives the same value."""
    return st.integers(0, 2**24 - 1).map(lambda seed: make(Random(seed)))


def choose_some(chance: Random, items: Sequence[Item], *, least: int = 0, most: int | None = None) -> list[Item]:
    """Choose different items, in any order; as many as there are unless `most` says less."""
    return chance.sample(items, chance.randint(least, len(items) if most is None else most))
