"""What a task is expected to take follows what was measured, and nothing else grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.scheduling.durations import KEPT, MOST_KEYS, History, expected_seconds, observe
from corral.scheduling.values import DurationKey, PolicyBounds

KEY = DurationKey("llama", "m", "RTX 4090")


def expected(history: History, key: DurationKey) -> float:
    return expected_seconds(history.expected, key, PolicyBounds(unknown_duration_s=60.0))


def test_one_outlier_does_not_move_the_estimate():
    history = History()
    for seconds in (10.0, 10.0, 900.0, 10.0):
        history = observe(history, KEY, seconds)
    assert expected(history, KEY) == 10.0


def test_the_estimate_follows_a_lasting_change():
    history = History()
    for seconds in [10.0] * 50 + [2.0] * (KEPT // 2 + 1):
        history = observe(history, KEY, seconds)
    assert expected(history, KEY) == 2.0


@pytest.mark.parametrize(
    ("key", "seconds"),
    [
        (KEY, 4.0),
        (DurationKey("llama", "m", "RTX 3090"), 6.0),
        (DurationKey("llama", "new", "RTX 3090"), 8.0),
        (DurationKey("comfyui", "m", "RTX 4090"), 60.0),
    ],
    ids=["measured", "another device", "another model", "another engine"],
)
def test_what_was_not_measured_is_taken_from_the_next_level(key, seconds):
    history = observe(History(), KEY, 4.0)
    history = observe(history, DurationKey("llama", "m", "RTX 5090"), 8.0)
    for _ in range(2):
        history = observe(history, DurationKey("llama", "other", "RTX 5090"), 20.0)
    history = observe(history, DurationKey("llama", None, "RTX 5090"), 8.0)
    assert expected(history, key) == seconds


def test_a_negative_measurement_counts_as_nothing():
    assert expected(observe(History(), KEY, -5.0), KEY) == 0.0


def test_the_keys_measured_longest_ago_are_forgotten():
    history = History(
        samples={DurationKey("e", str(n), "d"): (1.0,) for n in range(MOST_KEYS)},
        expected={DurationKey("e", str(n), "d"): 1.0 for n in range(MOST_KEYS)},
    )
    history = observe(history, KEY, 4.0)
    assert len(history.samples) == len(history.expected) == MOST_KEYS
    assert DurationKey("e", "0", "d") not in history.expected
    assert KEY in history.expected


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_the_estimate_lies_among_the_last_measurements_and_memory_is_bounded(measured):
    history = History()
    for seconds in measured:
        history = observe(history, KEY, seconds)
    assert min(measured[-KEPT:]) <= expected(history, KEY) <= max(measured[-KEPT:])
    assert all(len(samples) <= KEPT for samples in history.samples.values())
