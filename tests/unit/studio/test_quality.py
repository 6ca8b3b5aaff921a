"""Verdicts on pictures, near-duplicates, and which settings give pictures that are kept."""

from __future__ import annotations

import pytest

from corral.studio.quality.deciding import Bound, decide, find_near, read_results
from corral.studio.quality.keepers import JudgedTake, group_by_setting

BOUNDS = {"decodable": Bound(least=1), "sharpness": Bound(least=50), "faces": Bound(least=1, most=1)}


def test_a_picture_within_all_bounds_is_accepted() -> None:
    assert decide({"decodable": 1, "sharpness": 50, "faces": 1}, BOUNDS).accepted


def test_every_reason_of_a_rejection_is_named() -> None:
    verdict = decide({"decodable": 1, "sharpness": 12.5, "faces": 2}, BOUNDS, near=["elena/portrait/1"])

    assert verdict.reasons == (
        "sharpness is 12.5, below 50",
        "faces is 2, above 1",
        "nearly the same as elena/portrait/1",
    )
    assert not verdict.accepted


def test_what_was_not_measured_rejects() -> None:
    assert decide({"decodable": 1, "sharpness": 60}, BOUNDS).reasons == ("faces was not measured",)


def test_a_file_that_is_not_a_picture_has_that_reason_alone() -> None:
    assert decide({"decodable": 0}, BOUNDS).reasons == ("the file is not a picture that can be decoded",)


@pytest.mark.parametrize(("distance", "near"), [(None, ()), (0, ()), (1, ("a",)), (8, ("a", "b"))])
def test_near_duplicates_are_those_within_the_distance(distance: int | None, near: tuple[str, ...]) -> None:
    kept = {"a": "000000000000000e", "b": "00000000000000f0", "c": "ffffffffffffffff"}

    assert find_near("000000000000000f", kept, distance) == near


def test_numbers_of_all_checks_are_measures_and_the_hash_is_not() -> None:
    results = [
        {"sharpness": 3, "phash": "00ff00ff00ff00ff"},
        {"faces": 1, "nsfw": 0.25, "label": "face", "found": True},
    ]

    assert read_results(results) == ({"sharpness": 3, "faces": 1, "nsfw": 0.25, "found": 1}, "00ff00ff00ff00ff")


def a_take(seed: int, *, accepted: bool, **settings: str) -> JudgedTake:
    return JudgedTake(settings=settings, seed=seed, accepted=accepted, measurements={"sharpness": float(seed)})


def test_settings_are_ordered_by_the_share_that_was_kept() -> None:
    takes = [
        a_take(1, accepted=True, sampler="euler"),
        a_take(2, accepted=False, sampler="euler"),
        a_take(3, accepted=True, sampler="ddim"),
        a_take(4, accepted=False),
    ]

    groups = group_by_setting(takes, "sampler")

    assert [(group.value, group.takes, group.accepted, group.share) for group in groups] == [
        ("ddim", 1, 1, 1.0),
        ("euler", 2, 1, 0.5),
        ("-", 1, 0, 0.0),
    ]
    assert groups[1].means == {"sharpness": 1.5}


def test_seeds_are_grouped_by_ranges_that_hold_every_take_once() -> None:
    takes = [a_take(seed, accepted=seed < 40) for seed in range(80)]

    groups = group_by_setting(takes, "seed")

    assert [group.value for group in groups] == [f"{n}-{n + 9}" for n in range(0, 80, 10)]
    assert [group.takes for group in groups] == [10] * 8
    assert [group.share for group in groups] == [1.0] * 4 + [0.0] * 4
