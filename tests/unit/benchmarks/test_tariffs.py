"""The comparison of deadlines and tariffs shows what they are for, on a small week."""

from __future__ import annotations

from benchmarks.tariffs import PICTURES, WAYS, Week, play_week

_AS_THEY_COME, _BY, _CHEAP, _BOTH = WAYS


def play_light(way) -> Week:
    return play_week(way, backlog=0, size=100 / PICTURES)


def test_cheap_hours_cost_less_and_keep_the_deadline_where_the_card_has_time() -> None:
    plain, both = play_light(_AS_THEY_COME), play_light(_BOTH)
    assert (plain.late, both.late) == (0, 0)
    assert both.cents_each < plain.cents_each
    assert both.cost < plain.cost


def test_what_a_way_does_not_ask_for_changes_nothing() -> None:
    assert play_light(_BY).cost == play_light(_AS_THEY_COME).cost
