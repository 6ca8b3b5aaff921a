"""What an upgrade is advised: go, go with conditions, or don't, and why."""

from __future__ import annotations

import pytest

from corral.planning.upgrade import Advice, Recommendation
from corral.planning.upgrade.advice import Weight
from corral.planning.upgrade.report import to_markdown, to_record
from corral.planning.upgrade.report.page import to_page
from doubles.upgrades import EXAMPLES, TWO_EQUAL, hydra, upgrade_of

NO_SUPPLY = TWO_EQUAL.replace("    psu: {watts: 1000, otherWatts: 150}\n", "")
PASCAL = TWO_EQUAL.replace("[{model: RTX 5070 Ti, index: 0}, {model: RTX 5070 Ti, index: 1}]", "[{model: GTX 1080 Ti}]")


def list_reasons(recommendation: Recommendation, weight: Weight) -> str:
    return "; ".join(reason.what for reason in recommendation.of(weight))


def test_hydra_goes_ahead_with_its_reasons() -> None:
    recommendation = hydra().upgrade.recommendation

    assert recommendation.advice is Advice.GO
    gains = list_reasons(recommendation, Weight.GAIN)
    assert "VRAM +4 GiB on hydra-compute (28 GiB → 32 GiB)" in gains
    assert "hydra-compute becomes one pool of 2 x RTX 5070 Ti" in gains
    costs = list_reasons(recommendation, Weight.COST)
    assert costs.startswith("+130 W of GPU power on hydra-compute")
    assert "gpt-sovits no longer has a GPU of its own" in costs


def test_a_card_that_the_supply_cannot_carry_is_told() -> None:
    recommendation = hydra(
        ("replace", "hydra-compute/gpu1=RTX 5090"), ("psu", "hydra-compute=750")
    ).upgrade.recommendation

    assert recommendation.advice is Advice.DONT
    assert "1025 W of 750 W" in recommendation.sentence
    assert any("a power supply of at least 1,200 W" in condition for condition in recommendation.would_change)


def test_a_pool_that_becomes_mixed_and_weaker_is_advised_against() -> None:
    recommendation = upgrade_of(TWO_EQUAL, ("replace", "box/gpu1=RTX 3060 12GB")).recommendation

    assert recommendation.advice is Advice.DONT
    assert "the pool of box becomes mixed (1 x RTX 5070 Ti, 1 x RTX 3060 12 GB)" in recommendation.sentence
    assert "VRAM -4 GiB" in recommendation.sentence


def test_a_pool_that_becomes_mixed_but_larger_has_that_to_settle_first() -> None:
    recommendation = upgrade_of(TWO_EQUAL, ("replace", "box/gpu1=RTX 4090")).recommendation

    assert recommendation.advice is Advice.CONDITIONS
    assert "VRAM +8 GiB on box" in recommendation.sentence, "what is gained stands beside what has to be settled"
    assert "the pool of box becomes mixed" in recommendation.sentence
    assert any("choose the model that box has already" in condition for condition in recommendation.would_change)


def test_a_service_that_loses_its_last_card_stops_the_upgrade() -> None:
    recommendation = upgrade_of(
        TWO_EQUAL, ("replace", "box/gpu0=RTX 3060 12GB"), ("replace", "box/gpu1=RTX 3060 12GB")
    ).recommendation

    assert recommendation.advice is Advice.DONT
    assert "no GPU is left that can run comfyui (14.0 GiB do not fit: 11.5 GiB can be used)" in recommendation.sentence


def test_a_layout_that_has_no_place_for_a_service_any_more_stops_the_upgrade() -> None:
    text = (EXAMPLES / "harvis" / "cluster.yaml").read_text()

    recommendation = upgrade_of(text, ("move", "pop-os-343570d8/gpu0=pop-os")).recommendation

    assert recommendation.advice is Advice.DONT
    assert "no place is left for backend in the layout workstation" in recommendation.sentence


def test_cards_that_no_driver_serves_together_stop_the_upgrade() -> None:
    recommendation = upgrade_of(PASCAL, ("add", "box=RTX 5070 Ti")).recommendation

    assert recommendation.advice is Advice.DONT
    assert "one machine cannot run both" in recommendation.sentence


def test_a_supply_that_nobody_states_is_a_condition() -> None:
    recommendation = upgrade_of(NO_SUPPLY, ("add", "box=RTX 5070 Ti")).recommendation

    assert recommendation.advice is Advice.CONDITIONS
    assert any("state `psu.watts` of box" in condition for condition in recommendation.would_change)


def test_a_power_limit_alone_is_worth_the_watts_it_saves() -> None:
    recommendation = upgrade_of(TWO_EQUAL, ("limit", "box=250")).recommendation

    assert recommendation.advice is Advice.GO
    assert "-100 W at full load on box" in recommendation.sentence


def test_a_larger_supply_alone_is_worth_it_where_the_old_one_was_too_small() -> None:
    small = TWO_EQUAL.replace("watts: 1000", "watts: 600")

    recommendation = upgrade_of(small, ("psu", "box=1000")).recommendation

    assert recommendation.advice is Advice.GO
    assert "which was not enough" in recommendation.sentence


def test_an_equal_card_in_the_place_of_another_brings_nothing() -> None:
    recommendation = upgrade_of(TWO_EQUAL, ("psu", "box=1200")).recommendation

    assert (recommendation.advice, recommendation.sentence) == (Advice.DONT, "nothing improves.")


@pytest.mark.parametrize("model", ["RX 7900 XTX", "RTX 3060 12GB"])
def test_the_same_question_has_the_same_answer(model: str) -> None:
    asked = (TWO_EQUAL, ("replace", f"box/gpu1={model}"))
    first, second = upgrade_of.__wrapped__(*asked), upgrade_of.__wrapped__(*asked)

    assert to_markdown(first) == to_markdown(second)
    assert to_page(first) == to_page(second)
    assert to_record(first) == to_record(second)
