"""Deadlines as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from corral.requests import BatchFields, find_deadline

EVENING = datetime(2026, 3, 28, 21, tzinfo=UTC)
"""22:00 in Berlin, on the night in which the clock is put forward."""


def test_a_time_of_the_clock_is_the_next_at_which_clocks_show_it() -> None:
    by = BatchFields(name="b", by="07:00").by
    assert by is not None
    assert find_deadline(by, EVENING, "Europe/Berlin") == datetime(2026, 3, 29, 5, tzinfo=UTC)
    assert find_deadline("22:00", EVENING, "Europe/Berlin") == datetime(2026, 3, 29, 20, tzinfo=UTC)
    assert find_deadline("22:01", EVENING, "Europe/Berlin") == datetime(2026, 3, 28, 21, 1, tzinfo=UTC)


def test_an_instant_is_kept_whatever_the_zone() -> None:
    by = BatchFields(name="b", by="2026-12-24T07:00:00+01:00").by
    assert by == datetime(2026, 12, 24, 6, tzinfo=UTC)
    assert find_deadline(by, EVENING, "Asia/Tokyo") == by


@pytest.mark.parametrize("text", ["7 o'clock", "24:00", "2026-12-24T07:00:00", 7, "2026-12-24"])
def test_what_is_no_deadline_is_refused_with_what_to_write(text: object) -> None:
    with pytest.raises(ValidationError) as caught:
        BatchFields.model_validate({"name": "b", "by": text})
    (problem,) = caught.value.errors()
    assert "07:00" in problem["ctx"]["hint"]
