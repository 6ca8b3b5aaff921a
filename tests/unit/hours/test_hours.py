"""Hours of a week: over midnight, over the change of the clocks, and as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from corral.hours import DAY_MINUTES, Hours, make_hours

NIGHT = ((22 * 60, 41 * 60),)
"""22:00 to 17:00 on the next day."""
BERLIN = "Europe/Berlin"
HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_span_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    hours = make_hours({"weekdays": NIGHT}, zone=BERLIN)
    assert hours.is_open(at("2026-11-27T23:00+01:00"))  # Friday night
    assert hours.is_open(at("2026-11-28T16:59+01:00"))  # Saturday, still Friday's
    assert not hours.is_open(at("2026-11-28T17:00+01:00"))
    assert not hours.is_open(at("2026-11-30T12:00+01:00"))  # Monday noon: Sunday has no hours
    opening = hours.find_opening(at("2026-11-28T17:00+01:00"))
    assert opening is not None
    assert opening.opens_at == at("2026-11-30T22:00+01:00")
    assert opening.closes_at == at("2026-12-01T17:00+01:00")


def test_the_narrowest_name_counts_for_a_day() -> None:
    hours = make_hours({"daily": ((0, DAY_MINUTES),), "weekends": (), "sunday": ((480, 600),)}, zone="UTC")
    assert hours.is_open(at("2026-11-27T03:00Z"))
    assert not hours.is_open(at("2026-11-28T03:00Z"))
    assert hours.is_open(at("2026-11-29T08:00Z"))
    assert hours.find_next_change(at("2026-11-29T08:00Z")) == at("2026-11-29T10:00Z")


def test_the_night_on_which_the_clock_is_put_forward_is_an_hour_shorter() -> None:
    hours = make_hours({"daily": ((22 * 60, 31 * 60),)}, zone=BERLIN)  # 22:00 to 07:00
    opening = hours.find_opening(at("2026-03-28T23:00+01:00"))
    assert opening is not None
    assert opening.closes_at is not None
    assert opening.closes_at - opening.opens_at == 8 * HOUR
    assert opening.closes_at == at("2026-03-29T07:00+02:00")


def test_the_night_on_which_the_clock_is_put_back_is_an_hour_longer() -> None:
    hours = make_hours({"daily": ((22 * 60, 31 * 60),)}, zone=BERLIN)
    opening = hours.find_opening(at("2026-10-24T23:00+02:00"))
    assert opening is not None
    assert opening.closes_at is not None
    assert opening.closes_at - opening.opens_at == 10 * HOUR


def test_a_time_that_the_clock_skips_is_that_much_later_and_one_shown_twice_is_the_first() -> None:
    hours = make_hours({"daily": ((150, 300),)}, zone=BERLIN)  # 02:30 to 05:00
    skipped = hours.find_opening(at("2026-03-29T00:00+01:00"))
    assert skipped is not None
    assert skipped.opens_at == at("2026-03-29T03:30+02:00")
    doubled = hours.find_opening(at("2026-10-25T00:00+02:00"))
    assert doubled is not None
    assert doubled.opens_at == at("2026-10-25T02:30+02:00")
    assert doubled.closes_at == at("2026-10-25T05:00+01:00")


def test_spans_that_meet_are_one_and_a_week_without_end_never_closes() -> None:
    halves = make_hours({"daily": ((0, 720), (720, DAY_MINUTES))}, zone=BERLIN)
    opening = halves.find_opening(at("2026-11-27T12:00+01:00"))
    assert opening is not None
    assert opening.closes_at is None
    assert halves.find_next_change(at("2026-11-27T12:00+01:00")) is None
    assert halves.find_start(at("2026-11-27T12:00+01:00"), timedelta(days=30)) == at("2026-11-27T12:00+01:00")


def test_what_does_not_fit_before_closing_starts_with_the_next_opening_that_is_long_enough() -> None:
    hours = make_hours({"daily": ((22 * 60, 31 * 60),)}, zone=BERLIN)
    evening = at("2026-11-27T23:00+01:00")
    assert hours.find_start(evening, 8 * HOUR) == evening
    assert hours.find_start(evening, 9 * HOUR) == at("2026-11-28T22:00+01:00")
    assert hours.find_start(evening, 10 * HOUR) is None


def test_an_instant_is_printed_with_its_day_only_where_it_needs_that() -> None:
    hours = make_hours({"weekdays": NIGHT}, zone=BERLIN)
    now = at("2026-11-27T20:00Z")
    assert hours.describe_instant(at("2026-11-27T21:00Z"), now) == "22:00"
    assert hours.describe_instant(at("2026-11-30T21:00Z"), now) == "Mon 22:00"
    assert hours.describe_instant(at("2026-12-30T21:00Z"), now) == "2026-12-30 22:00"
    assert str(hours) == "weekdays 22:00-17:00; weekends closed (Europe/Berlin)"


week = st.tuples(
    *[
        st.lists(
            st.tuples(st.integers(0, DAY_MINUTES - 1), st.integers(1, DAY_MINUTES)).map(
                lambda span: (span[0], span[0] + span[1])
            ),
            max_size=2,
        ).map(tuple)
        for _ in range(7)
    ]
)
instant = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(lambda naive: naive.replace(tzinfo=UTC))


@given(spans=week, moment=instant, zone=st.sampled_from(["UTC", BERLIN, "America/New_York", "Pacific/Chatham"]))
def test_state_changes_exactly_where_the_next_change_says(
    spans: tuple[tuple[tuple[int, int], ...], ...], moment: datetime, zone: str
) -> None:
    hours = Hours(spans=spans, zone=zone)
    change = hours.find_next_change(moment)
    if change is not None:
        assert change > moment
        assert hours.is_open(change) != hours.is_open(moment)
        assert hours.is_open(moment + (change - moment) / 2) == hours.is_open(moment)


@given(spans=week, moment=instant, minutes=st.integers(0, 1000))
def test_what_starts_when_it_can_is_open_from_beginning_to_end(
    spans: tuple[tuple[tuple[int, int], ...], ...], moment: datetime, minutes: int
) -> None:
    hours = Hours(spans=spans, zone=BERLIN)
    start = hours.find_start(moment, timedelta(minutes=minutes))
    if start is not None:
        opening = hours.find_opening(start)
        assert opening is not None
        assert opening.opens_at <= start
        assert opening.closes_at is None or start + timedelta(minutes=minutes) <= opening.closes_at
