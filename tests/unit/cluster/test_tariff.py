"""Prices of power by the hour, and the hours of the lowest."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.cluster import ClusterFileError, load
from corral.cluster.prices import Electricity, TariffWindow
from corral.hours import DAY_MINUTES, Hours, make_hours

FILE = """
apiVersion: corral/v1
name: desk
timeZone: Europe/Berlin
nodes: [{name: desk}]
electricity:
  pricePerKwh: 0.34
  tariff:
    - {pricePerKwh: 0.22, hours: {daily: "23:00-06:00"}}
    - {pricePerKwh: 0.45, hours: {weekdays: "17:00-20:00"}}
"""


def read(text: str = FILE) -> Electricity:
    electricity = load(text, filename="cluster.yaml").electricity
    assert electricity is not None
    return electricity


def test_the_first_window_of_an_instant_has_its_price() -> None:
    electricity = read()
    prices = {
        "2026-03-06T18:00+01:00": 0.45,
        "2026-03-07T18:00+01:00": 0.34,
        "2026-03-07T05:59+01:00": 0.22,
        "2026-03-07T06:00+01:00": 0.34,
    }
    assert {at: electricity.find_price(datetime.fromisoformat(at)) for at in prices} == prices


def test_the_cheap_hours_are_those_of_the_lowest_price() -> None:
    assert str(read().find_cheap_hours()) == "daily 00:00-06:00, 23:00-24:00 (Europe/Berlin)"
    dear = FILE.replace("0.22", "0.50")
    cheap = read(dear).find_cheap_hours()
    assert cheap is not None
    assert cheap.is_open(datetime.fromisoformat("2026-03-07T12:00+01:00"))
    assert not cheap.is_open(datetime.fromisoformat("2026-03-06T18:00+01:00"))
    assert not cheap.is_open(datetime.fromisoformat("2026-03-07T05:00+01:00"))


def test_with_one_price_there_are_no_cheap_hours() -> None:
    assert Electricity(price_per_kwh=0.3).find_cheap_hours() is None
    assert read(FILE.replace("0.22", "0.34").replace("0.45", "0.34")).find_cheap_hours() is None


def test_the_hours_of_a_price_interrupt_nothing() -> None:
    with pytest.raises(ClusterFileError) as caught:
        read(FILE.replace('daily: "23:00-06:00"', 'daily: "23:00-06:00", interrupt: true'))
    assert [problem.what for problem in caught.value.problems] == ["unknown key `interrupt`"]


span = st.tuples(st.integers(0, DAY_MINUTES - 1), st.integers(1, DAY_MINUTES)).map(lambda at: (at[0], at[0] + at[1]))
week = st.lists(st.lists(span, max_size=2).map(tuple), min_size=7, max_size=7).map(tuple)
windows = st.lists(st.tuples(st.sampled_from([1.0, 2.0, 3.0]), week), min_size=1, max_size=3)


@given(windows, st.datetimes(datetime(2026, 1, 5), datetime(2026, 1, 12)))
def test_cheap_hours_are_open_exactly_while_the_price_is_lowest(
    priced: list[tuple[float, tuple[tuple[tuple[int, int], ...], ...]]], moment: datetime
) -> None:
    utc = make_hours({}, zone="UTC").zone
    tariff = tuple(TariffWindow(price_per_kwh=price, hours=Hours(spans=spans, zone=utc)) for price, spans in priced)
    electricity = Electricity(price_per_kwh=2.0, tariff=tariff)
    cheap = electricity.find_cheap_hours()
    at = moment.replace(tzinfo=datetime.fromisoformat("2026-01-01T00:00Z").tzinfo)
    if cheap is not None:
        lowest = min(electricity.find_price(start.opens_at) for start in [cheap.find_opening(at)] if start is not None)
        assert cheap.is_open(at) == (electricity.find_price(at) == lowest)
