"""A key gets what it can have within any minute and any day, and no more."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.requests import KeyFields
from corral.server.keys.limits import KeyLimitError, KeyMeters, KeyModelError, require_model


@dataclass
class Time:
    """A clock that a test moves."""

    seconds: float = 0.0
    day_tokens: dict[str, int] = field(default_factory=dict[str, int])
    instant: datetime = datetime(2030, 5, 1, 23, 59, 30, tzinfo=UTC)


def make_meters(time: Time) -> KeyMeters:
    return KeyMeters(
        monotonic=lambda: time.seconds, today=lambda key: time.day_tokens.get(key, 0), clock=lambda: time.instant
    )


@given(
    limit=st.integers(1, 5),
    gaps=st.lists(st.floats(0, 45, allow_nan=False), min_size=1, max_size=60),
)
def test_no_window_of_a_minute_has_more_requests_than_the_limit(limit: int, gaps: list[float]) -> None:
    time, served = Time(), list[float]()
    meters = make_meters(time)
    for gap in gaps:
        time.seconds += gap
        with suppress(KeyLimitError), meters.enter("ada", KeyFields(requests_per_minute=limit)):
            served.append(time.seconds)
    for start in served:
        assert sum(start <= at < start + 60 for at in served) <= limit


def test_client_that_comes_back_when_it_was_asked_to_is_served() -> None:
    time = Time()
    meters, limits = make_meters(time), KeyFields(requests_per_minute=2)
    for _ in range(2):
        with meters.enter("ada", limits):
            time.seconds += 7.3
    with (
        pytest.raises(KeyLimitError, match="'ada' had 2 requests within a minute") as refused,
        meters.enter("ada", limits),
    ):
        pass
    assert refused.value.retry_after_s == 46  # the first was 14.6 s ago
    time.seconds += refused.value.retry_after_s
    with meters.enter("ada", limits):
        pass


def test_request_that_goes_over_the_tokens_is_served_and_the_next_waits() -> None:
    time = Time()
    meters, limits = make_meters(time), KeyFields(tokens_per_minute=100)
    with meters.enter("ada", limits):
        meters.add_tokens("ada", 250)
    time.seconds = 59
    with pytest.raises(KeyLimitError, match="100 tokens within a minute") as refused, meters.enter("ada", limits):
        pass
    assert refused.value.retry_after_s == 1
    time.seconds = 60
    with meters.enter("ada", limits):
        pass


def test_requests_at_a_time_are_given_back_even_by_one_that_fails() -> None:
    meters, limits = make_meters(Time()), KeyFields(concurrent=2)
    with ExitStack() as open_requests:
        for _ in range(2):
            open_requests.enter_context(meters.enter("ada", limits))
        with pytest.raises(KeyLimitError, match="has 2 of 2 requests under way"), meters.enter("ada", limits):
            pass
        with meters.enter("bob", limits):
            pass
    with pytest.raises(ZeroDivisionError), meters.enter("ada", limits):
        raise ZeroDivisionError
    with meters.enter("ada", KeyFields(concurrent=1)):
        pass


def test_refused_request_counts_for_nothing() -> None:
    time = Time()
    meters = make_meters(time)
    limits = KeyFields(concurrent=1, requests_per_minute=2)
    with meters.enter("ada", limits):
        for _ in range(5):
            with pytest.raises(KeyLimitError), meters.enter("ada", limits):
                pass
    with meters.enter("ada", limits):
        pass


def test_tokens_of_a_day_wait_for_midnight_in_utc() -> None:
    time = Time(day_tokens={"ada": 1000})
    meters, limits = make_meters(time), KeyFields(tokens_per_day=1000)
    with pytest.raises(KeyLimitError, match="its 1000 tokens of this day") as refused, meters.enter("ada", limits):
        pass
    assert refused.value.retry_after_s == 30
    time.day_tokens["ada"] = 0
    with meters.enter("ada", limits):
        pass


@pytest.mark.parametrize(
    ("patterns", "model", "allowed"),
    [
        (None, "anything", True),
        (["llama3.2"], "llama3.2", True),
        (["llama3.2"], "llama3.2:latest", True),
        (["llama3.2:latest"], "llama3.2", True),
        (["llama3.2"], "llama3.2:1b", False),
        (["qwen*"], "qwen2.5:14b", True),
        (["qwen*"], "Qwen2.5:14b", False),
        (["a", "b"], "c", False),
    ],
)
def test_key_uses_the_models_it_is_for(patterns: list[str] | None, model: str, allowed: bool) -> None:
    assert KeyFields(models=patterns).allows(model) is allowed


def test_key_with_chosen_models_does_nothing_without_a_model() -> None:
    require_model("ada", KeyFields(), None)
    with pytest.raises(KeyModelError, match="cannot do work without a model"):
        require_model("ada", KeyFields(models=["a"]), None)
    with pytest.raises(KeyModelError, match="cannot use the model 'b'"):
        require_model("ada", KeyFields(models=["a"]), "b")
