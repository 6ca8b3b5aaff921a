"""Power as an electrician sees it: peaks and rails, watts at the wall, the circuit, and one advice for each card."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.cluster import load
from corral.cluster.values import Gpu, Line, Node
from corral.figures import Origin
from corral.hardware.catalogue import find_gpu
from corral.hardware.power import NodePower, Verdict, compute_power, find_models
from corral.hardware.power.efficiency import CURVES_115_V, CURVES_230_V, interpolate

NIGHT = timedelta(hours=8)


def power(*models: str, limit: int | None = None, **facts: object) -> NodePower:
    cards = tuple(Gpu(index=index, model=model, power_limit_w=limit) for index, model in enumerate(models))
    node = replace(Node(name="rig", gpus=cards), **facts)
    return compute_power(node, find_models([node]), electricity=None, night=NIGHT)


def power_of_file(node: str) -> NodePower:
    cluster = load(f"apiVersion: corral/v1\nname: small\nnodes:\n  - {node}\n", filename="c.yaml", find_gpu=find_gpu)
    return compute_power(cluster.nodes[0], find_models(cluster.nodes), electricity=None, night=NIGHT)


def verdict_on(node_power: NodePower, about: str) -> Verdict | None:
    return next((judgement.verdict for judgement in node_power.judgements if judgement.about == about), None)


def test_a_limit_lowers_the_mean_and_not_the_peak() -> None:
    limited = power("RTX 3090", "RTX 3090", limit=280, other_power_w=150)
    assert limited.limited is not None
    assert limited.limited.gpus.value == 560
    assert limited.limited.peak.value == limited.full.peak.value == 1.6 * 700 + 150


@pytest.mark.parametrize(
    ("standard", "verdict"),
    [(None, Verdict.UNKNOWN), ("ATX 2", Verdict.TIGHT), ("ATX 3.0", Verdict.OK), ("ATX 3.1", Verdict.OK)],
)
def test_peaks_over_the_rating_are_unknown_without_the_standard_of_the_supply(
    standard: str | None, verdict: Verdict
) -> None:
    node_power = power("RTX 3090", psu_w=600, other_power_w=100, psu_standard=standard)
    assert node_power.full.peak.value == 660
    assert verdict_on(node_power, "transients") is verdict


def test_two_cards_on_an_unknown_number_of_rails_are_ok_only_if_there_is_one() -> None:
    """Two RTX 3090 at 280 W on 1,500 W cut out until their supply was set to one rail."""
    node_power = power_of_file(
        "{name: rig, psu: {watts: 1500}, gpus: [{model: RTX 3090, powerLimit: 280},"
        " {model: RTX 3090, powerLimit: 280}]}"
    )
    assert node_power.verdict is Verdict.OK
    assert node_power.conditions == ("the supply has one 12 V rail",)
    assert any("2 x 12-pin on an unknown number of rails" in judgement.what for judgement in node_power.judgements)
    assert any("nvidia-smi -i 0 -lgc 0,1695" in advice for advice in node_power.advice)


@pytest.mark.parametrize(("rails", "verdict"), [(1, Verdict.OK), (4, Verdict.TIGHT), (2, Verdict.NOT_ENOUGH)])
def test_rails_that_the_file_states_are_judged(rails: int, verdict: Verdict) -> None:
    node_power = power("RTX 3090", "RTX 3090", psu_w=1500, psu_rails=rails)
    assert verdict_on(node_power, "12 V rails") is verdict
    assert node_power.conditions == ()


def test_a_small_card_asks_nothing_of_rails() -> None:
    assert power("RTX 3060 12 GB", psu_w=750).conditions == ()


@pytest.mark.parametrize(
    ("mark", "volts", "load", "efficiency"),
    [
        ("gold", 120, 50, 90),
        ("gold", 230, 50, 92),
        ("gold", 120, 35, 88.5),
        ("titanium", 230, 10, 90),
        ("bronze", 120, 100, 82),
        ("platinum", 230, 75, 92),
        ("gold", 120, 5, 87),
        ("white", 120, 120, 80),
    ],
)
def test_the_wall_gives_what_the_mark_promises_at_that_load(
    mark: str, volts: int, load: int, efficiency: float
) -> None:
    facts = {"psu_w": 1000, "other_power_w": 10 * load, "psu_efficiency": mark, "line": Line(volts=volts, amps=16)}
    node_power = power(**facts)
    assert node_power.full.efficiency.value == efficiency
    assert node_power.full.wall.value == round(1000 * load / efficiency, 3)


@given(st.sampled_from([*CURVES_115_V.values(), *CURVES_230_V.values()]), st.floats(0, 150))
def test_an_efficiency_is_within_its_curve(curve: dict[int, float], load: float) -> None:
    assert min(curve.values()) <= interpolate(curve, load) <= max(curve.values())


def test_energy_and_heat_are_those_at_the_wall() -> None:
    node_power = power("RTX 4090", psu_w=1000, other_power_w=150, psu_efficiency="gold")
    wall = node_power.full.wall.value
    assert wall > node_power.full.system.value
    assert node_power.full.energy.value == pytest.approx(wall * 8 / 1000, abs=0.001)
    assert node_power.full.heat.value == pytest.approx(wall * 3.412, abs=0.001)


def test_an_efficiency_that_nothing_states_is_marked_as_assumed() -> None:
    assert power("RTX 4090", psu_w=1000).full.efficiency.origin is Origin.ASSUMED


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (Line(volts=230, amps=16), Verdict.OK),
        (Line(volts=120, amps=13), Verdict.TIGHT),
        (Line(volts=120, amps=10), Verdict.NOT_ENOUGH),
    ],
)
def test_a_circuit_of_the_house_is_judged_by_what_hours_take_of_it(line: Line, verdict: Verdict) -> None:
    node_power = power(
        "RTX 4090", "RTX 4090", psu_w=1500, other_power_w=300, psu_standard="ATX 3.1", psu_efficiency="gold", line=line
    )
    assert verdict_on(node_power, "circuit") is verdict
    assert node_power.verdict is verdict


@pytest.mark.parametrize("amps", [13, 10])
def test_a_limit_that_a_restart_takes_away_does_not_make_a_circuit_ok(amps: int) -> None:
    node_power = power(
        "RTX 4090", "RTX 4090", limit=250, psu_w=1500, psu_efficiency="gold", line=Line(volts=120, amps=amps)
    )
    (circuit,) = (judgement for judgement in node_power.judgements if judgement.about == "circuit")
    assert circuit.verdict is Verdict.TIGHT
    assert "with the power limits of the file" in circuit.what


def test_an_uninterruptible_supply_is_judged_by_its_watts() -> None:
    assert verdict_on(power("RTX 4090", psu_w=1000, ups_w=600), "UPS") is Verdict.NOT_ENOUGH
    assert verdict_on(power("RTX 4090", psu_w=1000, ups_w=1500), "UPS") is Verdict.OK


@pytest.mark.parametrize("limit", [None, 200, 290, 300, 320, 350])
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("psu", [750, 1000, 1600])
def test_each_card_has_one_limit_in_all_the_advice(limit: int | None, count: int, psu: int) -> None:
    node_power = power(*["RTX 3090"] * count, limit=limit, psu_w=psu)
    for index in range(count):
        limits = [part for advice in node_power.advice for part in advice.split("`") if f"-i {index} -pl" in part]
        assert len(limits) <= 1


def test_a_limit_of_the_file_that_is_too_high_is_advised_with_the_change_to_the_file() -> None:
    node_power = power("RTX 3090", "RTX 3090", limit=340, psu_w=1000)
    (advice,) = [advice for advice in node_power.advice if advice.startswith("limit GPU 0 to 295 W")]
    assert "instead of the file's 340 W: `powerLimit: 295`" in advice


@pytest.mark.parametrize("model", ["Jetson Orin Nano 8 GB", "GB10", "Radeon 8060S", "Apple M4"])
def test_a_module_is_not_given_the_draw_of_a_desktop(model: str) -> None:
    node_power = power(model)
    assert node_power.other.value == 0
    assert node_power.recommended_psu is None
    assert any("not counted" in text for text in node_power.unknown)
    assert not [advice for advice in node_power.advice if "nvidia-smi" in advice]


def test_a_machine_without_gpus_is_unknown_until_the_file_states_its_draw() -> None:
    unknown, stated = power(), power(other_power_w=40, psu_w=90)
    assert unknown.full.system.value == 0
    assert unknown.unknown == ("its power draw (`psu.otherWatts`); nothing is counted",)
    assert (stated.full.system.value, stated.unknown, stated.verdict) == (40, (), Verdict.OK)


def test_the_facts_of_a_supply_are_read_from_the_file() -> None:
    node_power = power_of_file(
        "{name: rig, gpus: [{model: RTX 4090}], psu: {watts: 1000, otherWatts: 150, standard: ATX 3.1, rails: 1, "
        "efficiency: gold, line: {volts: 230, amps: 16}, upsWatts: 1500}}"
    )
    assert {judgement.about for judgement in node_power.judgements} >= {"12 V rails", "circuit", "UPS", "transients"}
    assert node_power.verdict is Verdict.OK
