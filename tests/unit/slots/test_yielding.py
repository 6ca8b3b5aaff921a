"""When a GPU is given to other programs, and when it comes back; time is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from corral.cluster.yields import OthersUse, YieldTo
from corral.slots.device_use import DeviceUse, Program
from corral.slots.yielding import HandedOver, YieldState, decide, measure_others
from corral.units import Bytes

GIB = 2**30
EIGHT = datetime(2026, 11, 29, 20, 0, tzinfo=UTC)
QUIET = timedelta(minutes=5)
GAME = Program(
    name="wine64-preloader",
    aliases=frozenset({"game.x86_64"}),
    user="eva",
    memory=Bytes(10 * GIB),
    busy=0.9,
)
DESKTOP = Program(name="gnome-shell", user="ada", memory=Bytes(GIB // 4), busy=0.02)
RULE = YieldTo(programs=("GAME.x86_64",), interrupt_after=timedelta(seconds=30))
OTHERS = YieldTo(others=OthersUse(above=0.2, lasting=timedelta(seconds=30)))


def seen(*programs: Program, busy: float | None = None, blind: str | None = None) -> DeviceUse:
    return DeviceUse(total=Bytes(16 * GIB), own=Bytes(0), programs=programs, busy=busy, blind=blind)


def go(
    looks: Sequence[tuple[float, DeviceUse | None]], rule: YieldTo | None = RULE, *, is_idle: bool = True
) -> list[YieldState]:
    """Return the states after looks at these seconds past eight."""
    state, states = YieldState(), list[YieldState]()
    for second, use in looks:
        state = decide(state, rule, use, None, now=EIGHT + timedelta(seconds=second), is_idle=is_idle)
        states.append(state)
    return states


def list_yields(states: Sequence[YieldState]) -> list[bool]:
    return [state.yielding is not None for state in states]


@pytest.mark.parametrize("rule", [RULE, YieldTo(users=("eva",))], ids=["program", "user"])
def test_gpu_yields_to_what_its_rule_names_at_the_first_look(rule: YieldTo) -> None:
    before, after = go([(0, seen(DESKTOP)), (2, seen(GAME, DESKTOP))], rule)

    assert before.yielding is None
    assert after.yielding is not None
    assert after.yielding.to == "wine64-preloader (10.0 GiB)"
    assert after.yielding.since == EIGHT + timedelta(seconds=2)


def test_tasks_are_interrupted_after_the_bound_of_the_rule_and_not_without_one() -> None:
    bounded, unbounded = go([(0, seen(GAME))]), go([(0, seen(GAME))], YieldTo(programs=("game.x86_64",)))

    assert bounded[0].yielding is not None
    assert bounded[0].yielding.interrupts_at == EIGHT + timedelta(seconds=30)
    assert unbounded[0].yielding is not None
    assert unbounded[0].yielding.interrupts_at is None


def test_gpu_comes_back_when_it_was_quiet_for_long_enough_and_not_in_a_pause_of_the_game() -> None:
    pause = QUIET.total_seconds() - 1
    states = go(
        [(0, seen(GAME)), (10, seen()), (pause, seen()), (pause + 1, seen(GAME)), (pause + 300, seen()), (1000, seen())]
    )

    assert list_yields(states) == [True, True, True, True, True, False]
    assert states[3].yielding is not None
    assert states[3].yielding.since == EIGHT


def test_gpu_yields_to_others_that_compute_enough_for_long_enough_without_a_break() -> None:
    busy, idle = seen(GAME), seen(DESKTOP)

    assert list_yields(go([(0, busy), (20, busy), (29, busy), (30, busy)], OTHERS)) == [False, False, False, True]
    assert list_yields(go([(0, busy), (20, idle), (22, busy), (51, busy), (52, busy)], OTHERS))[-2:] == [False, True]


def test_small_programs_count_together() -> None:
    half = Program(name="viewer", busy=0.11)
    other = Program(name="player", busy=0.11)

    assert list_yields(go([(0, seen(half, other)), (30, seen(half, other))], OTHERS)) == [False, True]


def test_use_that_cannot_be_divided_counts_only_while_corral_computes_nothing() -> None:
    hidden = seen(Program(name="game.exe"), busy=0.95)

    assert measure_others(hidden, is_idle=True) == 0.95
    assert measure_others(hidden, is_idle=False) is None
    assert list_yields(go([(0, hidden), (60, hidden)], OTHERS)) == [False, True]
    assert list_yields(go([(0, hidden), (60, hidden)], OTHERS, is_idle=False)) == [False, False]


def test_look_that_shows_nothing_changes_nothing() -> None:
    lost = DeviceUse(problem="GPU is lost")

    assert list_yields(go([(0, seen(GAME)), (400, None), (800, lost)])) == [True, True, True]
    assert list_yields(go([(0, seen()), (2, None), (4, lost)])) == [False, False, False]


def test_words_about_a_program_stay_while_its_memory_moves_little() -> None:
    little, much = replace(GAME, memory=Bytes(10 * GIB + 2**20)), replace(GAME, memory=Bytes(12 * GIB))
    states = go([(0, seen(GAME)), (2, seen(little)), (4, seen(much))])

    assert [state.yielding.to for state in states if state.yielding] == [
        "wine64-preloader (10.0 GiB)",
        "wine64-preloader (10.0 GiB)",
        "wine64-preloader (12.0 GiB)",
    ]


def test_gpu_that_is_given_by_hand_comes_back_at_its_time_or_when_it_is_taken_back() -> None:
    handed = HandedOver(by="ada", since=EIGHT, until=EIGHT + timedelta(hours=2))
    during = decide(YieldState(), None, seen(), handed, now=EIGHT + timedelta(hours=1), is_idle=True)
    over = decide(during, None, seen(), handed, now=EIGHT + timedelta(hours=2), is_idle=True)
    taken_back = decide(during, RULE, seen(), None, now=EIGHT + timedelta(hours=1), is_idle=True)

    assert during.yielding is not None
    assert during.yielding.to == "programs of ada, by hand"
    assert during.yielding.interrupts_at is None
    assert over.yielding is None
    assert taken_back.yielding is None


def test_gpu_that_is_given_at_once_interrupts_at_once() -> None:
    handed = HandedOver(by="ada", since=EIGHT, at_once=True)

    given = decide(YieldState(), None, None, handed, now=EIGHT, is_idle=False)

    assert given.yielding is not None
    assert given.yielding.interrupts_at == EIGHT


def test_gpu_without_a_rule_never_yields_by_itself() -> None:
    assert list_yields(go([(0, seen(GAME)), (1000, seen(GAME))], None)) == [False, False]


def test_memory_of_others_is_what_is_used_less_corrals_own() -> None:
    known = DeviceUse(used=Bytes(12 * GIB), own=Bytes(4 * GIB))
    blind = DeviceUse(used=Bytes(12 * GIB), blind="the driver does not list the processes on it")

    assert known.measure_foreign(0, all_reported=9 * GIB) == 8 * GIB
    assert known.measure_foreign(3 * GIB, all_reported=9 * GIB) == 5 * GIB
    assert blind.measure_foreign(0, all_reported=9 * GIB) == 3 * GIB
    assert DeviceUse().measure_foreign(0, all_reported=0) is None
