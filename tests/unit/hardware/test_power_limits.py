"""Power limits: when they are advised, what they cost, and whether a card takes them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from corral.cluster.power_windows import PowerWindow
from corral.cluster.values import Gpu, Node
from corral.figures import Origin
from corral.hardware.catalogue import find_one_gpu
from corral.hardware.gpu_names import name_class
from corral.hardware.power import (
    Judgement,
    LimitRange,
    NodePower,
    Verdict,
    advise_limit,
    compute_power,
    find_models,
    list_speed_losses,
)
from corral.hardware.power.limits import SWEEPS
from corral.hours import make_hours


def power(*cards: tuple[str | None, int | None], psu: int | None = None, known: LimitRange | None = None) -> NodePower:
    gpus = tuple(Gpu(index=index, model=model, power_limit_w=limit) for index, (model, limit) in enumerate(cards))
    node = Node(name="n", gpus=gpus, psu_w=psu, other_power_w=150)
    ranges = {0: known} if known else {}
    return compute_power(node, find_models([node]), electricity=None, night=timedelta(hours=8), ranges=ranges)


def check(model: str | None, limit: int, known: LimitRange | None = None) -> Judgement:
    node_power = power((model, limit), known=known)
    return next(judgement for judgement in node_power.judgements if judgement.about == "power limit of GPU 0")


def limits_advised(node_power: NodePower) -> list[str]:
    return [todo for todo in node_power.advice if todo.startswith("limit GPU")]


@pytest.mark.parametrize(("tgp", "limit"), [(300, 250), (450, 375), (575, 480), (350, 295), (170, 145)])
def test_the_advised_limit_is_five_sixths_of_the_power(tgp: int, limit: int) -> None:
    assert advise_limit(tgp) == limit


def test_two_hot_cards_in_one_case_are_advised_a_limit_each_in_one_sentence() -> None:
    assert limits_advised(power(("RTX 5070 Ti", None), ("RTX 5070 Ti", None), psu=1000)) == [
        "limit GPU 0 to 250 W (`nvidia-smi -i 0 -pl 250`) and GPU 1 to 250 W (`nvidia-smi -i 1 -pl 250`), because hot "
        "GPUs share the case; the loss in speed is unknown for GPU 0 and GPU 1"
    ]


def test_a_hot_card_beside_a_cool_one_is_left_alone() -> None:
    assert limits_advised(power(("RTX 5070 Ti", None), ("RTX 3060 12 GB", None), psu=1000)) == []


def test_a_card_that_is_limited_already_is_told_how_to_stay_so() -> None:
    node_power = power(("RTX 5070 Ti", 250), ("RTX 5070 Ti", 250), psu=1000)
    assert limits_advised(node_power) == []
    assert any(
        "`nvidia-smi -i 0 -pl 250` and `nvidia-smi -i 1 -pl 250` at every start" in line for line in node_power.advice
    )


def test_a_card_whose_limit_the_hour_decides_is_limited_in_the_file() -> None:
    night = PowerWindow(watts=200, hours=make_hours({"daily": ((0, 420),)}, zone="UTC"))
    gpus = tuple(
        Gpu(index=index, model="RTX 5070 Ti", power_limit_w=limit, power_windows=(night,))
        for index, limit in enumerate((300, 250))
    )
    node = Node(name="n", gpus=gpus, psu_w=1000, other_power_w=150)

    advice = compute_power(node, find_models([node]), electricity=None, night=timedelta(hours=8)).advice

    (limits,) = [line for line in advice if line.startswith("limit GPU")]
    assert "`powerLimit: 250` in the file instead of the file's 300 W" in limits
    assert not any("-pl" in line for line in advice)


def test_a_supply_loaded_over_80_percent_is_relieved_by_limits_on_every_card() -> None:
    advised = limits_advised(power(("RTX 4090", None), psu=700))
    assert len(advised) == 1
    assert "over 80 % of the supply" in advised[0]
    assert "at most 6.6 % (writing tokens)" in advised[0]


def test_a_supply_that_limits_cannot_save_is_told_the_watts_that_are_left() -> None:
    node_power = power(("RTX 5090", None), psu=500)
    assert limits_advised(node_power) == []
    assert any("hold the GPUs to 300 W together" in todo for todo in node_power.advice)


def test_a_supply_that_the_rest_of_the_machine_fills_has_no_room_for_cards() -> None:
    assert any("take the GPUs out" in todo for todo in power(("RTX 5090", None), psu=150).advice)


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(250, Verdict.OK), (350, Verdict.OK), (249, Verdict.NOT_ENOUGH), (351, Verdict.NOT_ENOUGH)],
)
def test_a_limit_is_checked_against_what_the_driver_says(limit: int, verdict: Verdict) -> None:
    assert check("RTX 5070 Ti", limit, LimitRange(minimum_w=250, maximum_w=350)).verdict is verdict


def test_without_the_driver_the_lowest_limit_is_unknown_and_how_to_ask_is_told() -> None:
    judgement = check("RTX 5070 Ti", 250)
    assert judgement.verdict is Verdict.UNKNOWN
    assert "nvidia-smi -i 0 -q -d POWER" in judgement.reason


def test_the_power_of_a_card_is_its_default_limit_and_not_taken_for_its_highest() -> None:
    judgement = check("RTX 5070 Ti", 330)
    assert judgement.verdict is Verdict.UNKNOWN
    assert "over its default limit of 300 W" in judgement.what


def test_a_limit_under_one_that_somebody_saw_refused_is_doubted_with_the_source() -> None:
    judgement = check("RTX 5060 Ti 16 GB", 140)
    assert judgement.verdict is Verdict.TIGHT
    assert judgement.reason.startswith("https://")
    assert check("RTX 5060 Ti 16 GB", 150).verdict is Verdict.UNKNOWN


def test_a_limit_of_a_card_that_nobody_knows_is_unknown() -> None:
    assert check(None, 200).verdict is Verdict.UNKNOWN


def test_a_limit_between_two_measured_ones_costs_at_most_what_the_lower_did() -> None:
    losses = {loss.source.partition(",")[0]: loss.value for loss in list_speed_losses("RTX 3090", 290)}
    assert losses == {
        "training with TensorFlow on four GPUs": 5,
        "writing tokens with llama.cpp on six GPUs": 2.6,
        "reading long prompts with llama.cpp on six GPUs": 14.7,
    }


def test_a_limit_below_all_that_was_measured_and_a_model_that_nobody_measured_are_unknown() -> None:
    assert list_speed_losses("RTX 4090", 200) == ()
    assert list_speed_losses("RTX 5070 Ti", 250) == ()


def test_a_limit_in_the_file_says_what_it_costs_where_that_is_known() -> None:
    (card,) = power(("RTX 4090", 315)).gpus
    assert [loss.value for loss in card.speed_losses] == [6.6, 2]
    assert {loss.origin for loss in card.speed_losses} == {Origin.DECLARED}


def test_every_measured_sweep_is_of_a_model_of_the_catalogue_and_has_a_source() -> None:
    names = {"3090": "RTX 3090", "4090": "RTX 4090", "5060ti": "RTX 5060 Ti 16 GB"}
    names["pro6000blackwell"] = "RTX PRO 6000 Blackwell"
    for sweep in SWEEPS:
        assert name_class(find_one_gpu(names[sweep.gpu_class]).name) == sweep.gpu_class
        assert sweep.source.startswith("https://")
        assert all(0 < speed <= sweep.best for speed in sweep.speeds.values())


def test_no_command_of_nvidia_is_given_for_a_card_of_another_maker() -> None:
    node_power = power(("RX 7900 XTX", 300), ("RX 7900 XTX", None), psu=850)

    lines = [*node_power.advice, *(judgement.reason for judgement in node_power.judgements)]
    assert [line for line in lines if "nvidia-smi" in line] == []
    assert any(line.startswith("limit GPU 1 to 300 W (with its driver's tool)") for line in lines)
    assert any(line.startswith("set 300 W on GPU 0 with its driver's tool at every start") for line in lines)


def test_a_laptop_is_advised_no_supply_of_a_desktop() -> None:
    node_power = power(("RTX 4090 Laptop GPU", None), psu=230)

    assert node_power.recommended_psu is None
    assert [line for line in node_power.advice if "two supplies" in line or "fit a power supply" in line] == []


def test_a_limit_that_nobody_means_is_questioned_and_not_asked_for() -> None:
    node_power = power(("RTX 4090", 90_000), ("RTX 4090", 300))

    (first, second) = (judgement for judgement in node_power.judgements if judgement.about.startswith("power limit"))
    assert (first.verdict, second.verdict) == (Verdict.TIGHT, Verdict.UNKNOWN)
    assert "450 W that the GPU takes" in first.what
    assert node_power.gpus[0].speed_losses == ()
    assert not any("-pl 90000" in advice for advice in node_power.advice)
    assert any("-pl 300" in advice for advice in node_power.advice)
