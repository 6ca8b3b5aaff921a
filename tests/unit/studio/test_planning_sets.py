"""What of a set is made: what is missing, once."""

from __future__ import annotations

import pytest

from corral.studio.sets.expanding import derive_seed, expand
from corral.studio.sets.planning import SetPlan, plan_set
from corral.studio.sets.reading import read_set_value
from corral.studio.sets.values import KnownPicture, PictureState, WantedPicture
from doubles.picture_sets import a_set

KEY = "queen-01/portrait/1"


def the_picture(look: str = "look 1") -> WantedPicture:
    file = a_set(characters=[{"name": "queen-01", "look": look}], shots={"portrait": "a portrait"}, seeds=1)
    return expand(read_set_value(file), ())[0]


def known(state: PictureState, *, round: int = 0, wanted: bool = True) -> dict[str, KnownPicture]:
    before = the_picture()
    picture = KnownPicture(
        state=state, digest=before.digest, sources=before.sources, number=4, round=round, wanted=wanted
    )
    return {KEY: picture}


def plan(wanted: WantedPicture, before: dict[str, KnownPicture], *, remake_stale: bool = False) -> SetPlan:
    return plan_set("night", [wanted], before, remakes=3, remake_stale=remake_stale)


def test_what_is_missing_is_made_with_its_own_seed() -> None:
    (take,) = plan(the_picture(), {}).takes

    assert (take.number, take.round, take.seed) == (1, 0, the_picture().first_seed)


@pytest.mark.parametrize("state", [PictureState.OPEN, PictureState.ACCEPTED])
def test_what_is_there_or_under_way_is_not_made_again(state: PictureState) -> None:
    planned = plan(the_picture(), known(state))

    assert (planned.takes, planned.kept, planned.stale) == ((), 1, ())


def test_changed_inputs_make_a_picture_stale_and_only_then_anew_when_that_is_asked() -> None:
    changed = the_picture("green eyes")

    kept = plan(changed, known(PictureState.ACCEPTED, round=2))
    anew = plan(changed, known(PictureState.ACCEPTED, round=2), remake_stale=True)

    assert [(picture.key, picture.changed) for picture in kept.stale] == [(KEY, ("character.look",))]
    assert kept.takes == ()
    assert anew.stale == ()
    assert [(take.number, take.round, take.seed) for take in anew.takes] == [(5, 0, changed.first_seed)]


def test_what_failed_is_made_again_with_the_same_seed() -> None:
    (take,) = plan(the_picture(), known(PictureState.FAILED, round=2)).takes

    assert (take.number, take.round, take.seed) == (5, 2, derive_seed("night", KEY, 2))


def test_a_rejected_picture_is_made_again_where_the_set_allows_more_than_before() -> None:
    assert plan(the_picture(), known(PictureState.REJECTED, round=3)).takes == ()
    (take,) = plan(the_picture(), known(PictureState.REJECTED, round=2)).takes
    assert take.seed == derive_seed("night", KEY, 3)


def test_pictures_that_are_no_longer_asked_for_are_named_once() -> None:
    wanted = known(PictureState.ACCEPTED) | {"gone/portrait/1": known(PictureState.ACCEPTED)[KEY]}
    unwanted = known(PictureState.ACCEPTED) | {"gone/portrait/1": known(PictureState.ACCEPTED, wanted=False)[KEY]}

    assert plan(the_picture(), wanted).unwanted == ("gone/portrait/1",)
    assert plan(the_picture(), unwanted).unwanted == ()
