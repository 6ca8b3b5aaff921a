"""What a node draws, and whether its supply carries it; first the installations that the formulas have to match."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.cluster.prices import Electricity
from corral.cluster.values import Gpu, Node
from corral.figures import Figure, Origin
from corral.hardware.power import Connector, Judgement, NodePower, Verdict, compute_power, find_models
from corral.hardware.power.supply import STANDARD_SIZES_W

NIGHT = timedelta(hours=8)


def power(
    *models: str | None,
    psu: int | None = None,
    other: int | None = None,
    limit: int | None = None,
    price: float = 0,
    standard: str | None = "ATX 3.1",
) -> NodePower:
    cards = tuple(Gpu(index=index, model=model, power_limit_w=limit) for index, model in enumerate(models))
    node = Node(name="n", gpus=cards, psu_w=psu, other_power_w=other, psu_standard=standard)
    return power_of_node(node, price=price)


def power_of_node(node: Node, *, price: float = 0) -> NodePower:
    electricity = Electricity(price_per_kwh=price, currency="EUR") if price else None
    return compute_power(node, find_models([node]), electricity=electricity, night=NIGHT)


def value(figure: Figure | None) -> float:
    assert figure is not None
    return figure.value


def judged(node_power: NodePower, about: str) -> Judgement:
    return next(judgement for judgement in node_power.judgements if judgement.about == about)


def test_hydra_before_its_upgrade() -> None:
    node_power = power("RTX 5070 Ti", "RTX 3060 12 GB", psu=1000, other=150)
    assert value(node_power.full.gpus) == 470
    assert value(node_power.full.system) == 620
    assert value(node_power.recommended_psu) == 750


def test_hydra_after_its_upgrade() -> None:
    node_power = power("RTX 5070 Ti", "RTX 5070 Ti", psu=1000, other=150)
    assert value(node_power.full.gpus) == 600
    assert value(node_power.full.system) == 750
    assert value(node_power.recommended_psu) == 850
    assert value(node_power.full.gpu_current) == 50
    assert value(node_power.full.system_current) == 62.5
    assert value(node_power.full.psu_load) == 75
    assert value(node_power.full.wall) == 937.5
    assert value(node_power.full.heat) == 3198.75
    assert node_power.verdict is Verdict.OK


def test_hydra_with_its_limits_draws_less_and_its_supply_is_still_chosen_without_them() -> None:
    node_power = power("RTX 5070 Ti", "RTX 5070 Ti", psu=1000, other=150, limit=250, price=0.3)
    assert node_power.limited is not None
    assert (value(node_power.limited.gpus), value(node_power.limited.system)) == (500, 650)
    assert (value(node_power.full.cost), value(node_power.limited.cost)) == (2.25, 1.95)
    assert value(node_power.recommended_psu) == 850


def test_a_machine_that_did_cut_out_is_told_that_its_supply_is_not_enough() -> None:
    """C04: 490 W with cards of 290 W and 170 W; its processor takes 135 W and the rest about 100 W."""
    for other in (235, None):
        node_power = power("RTX 3070 Ti", "RTX 3060 12 GB", psu=490, other=other)
        assert node_power.verdict is Verdict.NOT_ENOUGH
        assert judged(node_power, "power supply").verdict is Verdict.NOT_ENOUGH
        assert judged(node_power, "transients").verdict is Verdict.NOT_ENOUGH
        assert "fit a power supply of 850 W or more (it has 490 W)" in node_power.advice


def test_that_machine_with_a_nearly_idle_processor_is_still_told_to_be_at_risk() -> None:
    node_power = power("RTX 3070 Ti", "RTX 3060 12 GB", psu=490, other=30)
    assert {
        judgement.verdict for judgement in node_power.judgements if judgement.about in ("power supply", "transients")
    } == {Verdict.TIGHT}


def test_limits_that_mend_a_supply_leave_it_tight_because_a_restart_removes_them() -> None:
    """C04 again, with the 130 W and 110 W that its owner set."""
    cards = (
        Gpu(index=0, model="RTX 3070 Ti", power_limit_w=130),
        Gpu(index=1, model="RTX 3060 12 GB", power_limit_w=110),
    )
    node_power = power_of_node(Node(name="p510", gpus=cards, psu_w=490, other_power_w=235))
    supply = judged(node_power, "power supply")
    assert node_power.limited is not None
    assert value(node_power.limited.system) == 475
    assert supply.verdict is Verdict.TIGHT
    assert "as long as they are set" in supply.what


@pytest.mark.parametrize(
    ("models", "size"),
    [
        (("RTX 3060 12 GB",), 450),
        (("RTX 5070 Ti",), 750),
        (("RTX 4090",), 850),
        (("RTX 5090",), 1000),
        (("RTX 4090", "RTX 4090"), 1500),
        (("RTX 5090", "RTX 4090"), 1500),
    ],
)
def test_the_advised_supply_of_usual_machines(models: tuple[str, ...], size: int) -> None:
    assert value(power(*models).recommended_psu) == size


def test_two_4090_beside_150_w_ask_for_1200_w() -> None:
    assert value(power("RTX 4090", "RTX 4090", other=150).recommended_psu) == 1200


def test_four_3090_are_more_than_one_supply_carries() -> None:
    node_power = power("RTX 3090", "RTX 3090", "RTX 3090", "RTX 3090", psu=1600)
    assert node_power.recommended_psu is None
    assert node_power.verdict is Verdict.NOT_ENOUGH
    assert any(todo.startswith("divide the GPUs over two supplies") for todo in node_power.advice)


def test_four_3090_at_300_w_on_1600_w_are_tight_as_they_were_seen_to_be() -> None:
    """Puget Systems ran them so, with about 380 W for the rest, and would not recommend it."""
    cards = tuple(Gpu(index=index, model="RTX 3090", power_limit_w=300) for index in range(4))
    node_power = power_of_node(Node(name="quad", gpus=cards, psu_w=1600, other_power_w=380))
    assert node_power.verdict is Verdict.TIGHT


@given(
    models=st.lists(
        st.sampled_from(["RTX 5090", "RTX 4090", "RTX 5070 Ti", "RTX 3060 12 GB", "RTX A4000"]), max_size=4
    ),
    other=st.integers(20, 600),
)
def test_the_advised_supply_is_always_judged_as_enough(models: list[str], other: int) -> None:
    size = power(*models, other=other).recommended_psu
    if size is None:
        assert value(power(*models, other=other).full.system) > 0.9 * STANDARD_SIZES_W[-1]
        return
    assert power(*models, other=other, psu=round(size.value)).verdict is Verdict.OK


@given(psu=st.integers(100, 3000), other=st.integers(0, 600))
def test_a_larger_supply_is_never_judged_worse(psu: int, other: int) -> None:
    order = [Verdict.NOT_ENOUGH, Verdict.TIGHT, Verdict.OK]
    smaller, larger = (power("RTX 5090", psu=watts, other=other).verdict for watts in (psu, psu + 50))
    assert order.index(smaller) <= order.index(larger)


def test_the_catalogue_is_asked_what_it_suggests_for_the_most_demanding_card() -> None:
    node_power = power("RTX 5070 Ti", "RTX 3060 12 GB")
    assert node_power.catalogue_psu is not None
    assert (node_power.catalogue_psu.value, node_power.catalogue_psu.origin) == (700, Origin.CATALOGUE)
    assert "c4243" in node_power.catalogue_psu.source


def test_a_supply_under_what_the_catalogue_suggests_for_one_card_is_tight() -> None:
    """221 W + 575 W are 88 % of 900 W, which would do; TechPowerUp suggests 950 W for an RTX 5090."""
    node_power = power("RTX 5090", psu=900)
    assert judged(node_power, "power supply").verdict is Verdict.OK
    assert (judged(node_power, "suggested supply").verdict, node_power.verdict) == (Verdict.TIGHT, Verdict.TIGHT)
    assert "fit a power supply of 1000 W or more (it has 900 W)" in node_power.advice


def test_every_number_says_where_it_comes_from() -> None:
    node_power = power("RTX 5070 Ti", "RTX 5070 Ti", psu=1000, other=150)
    assert (node_power.full.gpus.origin, node_power.full.gpus.source) == (Origin.COMPUTED, "2 x 300 W")
    assert node_power.full.system.source == "600 W of GPUs + 150 W for the rest"
    assert node_power.full.gpu_current.source == "600 W / 12 V"
    assert node_power.other.origin is Origin.CLUSTER_FILE
    assert node_power.gpus[0].tgp is not None
    assert node_power.gpus[0].tgp.source.endswith("geforce-rtx-5070-ti.c4243")
    assert "750 W / 90 % = 833 W" in (node_power.recommended_psu.source if node_power.recommended_psu else "")


def test_what_a_machine_draws_besides_its_cards_is_assumed_with_its_reason_when_nobody_states_it() -> None:
    node_power = power("RTX 4090")
    assert (node_power.other.value, node_power.other.origin) == (221, Origin.ASSUMED)
    assert "621484" in node_power.other.source
    assert "write what the machine draws without its GPUs into the file (`psu: {otherWatts: ...}`)" in node_power.advice


@pytest.mark.parametrize("model", [None, "GTX 1660 Ti Max-Q", "no such card"])
def test_a_card_of_unknown_power_makes_the_sum_a_lower_bound(model: str | None) -> None:
    node_power = power("RTX 4090", model)
    assert value(node_power.full.gpus) == 450
    assert len(node_power.unknown) == 1
    assert node_power.unknown[0].startswith("GPU 1 (")
    assert node_power.unknown[0].endswith("it is counted as nothing")


def test_a_supply_is_never_called_enough_while_the_power_of_a_card_is_unknown() -> None:
    assert power("RTX 4090", None, psu=1600).verdict is Verdict.UNKNOWN
    assert power_of_node(Node(name="n", gpus=None, psu_w=1600)).verdict is Verdict.UNKNOWN
    assert power("RTX 4090", None, psu=400).verdict is Verdict.NOT_ENOUGH


def test_a_card_of_unknown_power_counts_as_its_limit() -> None:
    node_power = power(None, limit=200)
    assert value(node_power.full.gpus) == 200
    assert node_power.unknown == ("GPU 0 (no model stated): its power is unknown; it is counted as its limit, 200 W",)


def test_a_node_without_cards_has_no_advice_and_no_advised_supply() -> None:
    node_power = power()
    assert (value(node_power.full.gpus), node_power.recommended_psu, node_power.advice) == (0, None, ())
    assert node_power.full.gpus.source == "no GPU whose power is known"
    assert node_power.slots is None
    assert node_power.longest is None


def test_a_node_whose_cards_are_still_to_be_found_says_so() -> None:
    node_power = power_of_node(Node(name="n", gpus=None))
    assert node_power.unknown == ("the file leaves the GPUs to be found on the machine; none is counted",)


def test_an_unknown_supply_leaves_the_verdict_unknown() -> None:
    node_power = power("RTX 4090")
    assert node_power.full.psu_load is None
    assert node_power.verdict is Verdict.UNKNOWN


def test_without_a_tariff_a_night_has_energy_and_no_cost() -> None:
    node_power = power("RTX 4090", other=150)
    assert value(node_power.full.energy) == 6
    assert node_power.full.cost is None


def test_peaks_over_the_rating_name_what_the_standard_asks_of_a_supply() -> None:
    node_power = power("RTX 5070 Ti", "RTX 5070 Ti", psu=1000, other=150)
    transients = judged(node_power, "transients")
    assert value(node_power.full.peak) == 1110
    assert transients.verdict is Verdict.OK
    assert "145 % for 1 ms" in transients.reason


def test_the_margin_is_what_the_supply_can_give_beyond_the_peak() -> None:
    assert value(power("RTX 5070 Ti", "RTX 5070 Ti", psu=1000, other=150).full.margin) == 340
    assert value(power("RTX 3070 Ti", "RTX 3060 12 GB", psu=490, other=235).full.margin) == -260.5
    assert power("RTX 5070 Ti").full.margin is None


def test_a_limit_that_was_raised_counts_against_the_supply() -> None:
    node_power = power("RTX 5070 Ti", limit=350)
    assert value(node_power.full.gpus) == 350


def test_peaks_within_the_rating_need_no_standard() -> None:
    assert judged(power("RTX 3060 12 GB", psu=750), "transients").reason == "within the rating of any supply"


def test_peaks_that_only_a_supply_with_a_16_pin_connector_has_to_carry_are_tight() -> None:
    """575 W x 1.6 + 50 W are 970 W: 149 % of 650 W."""
    assert judged(power("RTX 5090", psu=650, other=50), "transients").verdict is Verdict.TIGHT


def test_connectors_of_all_cards_are_counted() -> None:
    node_power = power("RTX 5070 Ti", "RTX 5070 Ti", "GTX 1080 Ti", "L4")
    assert node_power.connectors == (
        Connector(kind="16-pin", count=2),
        Connector(kind="6-pin", count=1),
        Connector(kind="8-pin", count=1),
    )
    assert node_power.gpus[3].connectors == ()
    assert "2 x 16-pin and 1 x 6-pin and 1 x 8-pin" in judged(node_power, "connectors").what


def test_a_connector_without_a_count_is_one() -> None:
    assert power("RTX A6000").connectors == (Connector(kind="8-pin EPS", count=1),)


def test_a_card_that_needs_no_cable_differs_from_one_of_which_nobody_knows() -> None:
    assert power("GTX 1660 Ti Mobile").gpus[0].connectors == ()
    assert power("no such card").gpus[0].connectors is None


@pytest.mark.parametrize(("model", "slots"), [("RTX A4000", 1), ("RTX 5090", 2), ("RTX 4090", 3), ("RTX 5070 Ti", 3)])
def test_slots_are_those_of_the_catalogue_or_of_the_width_when_that_is_more(model: str, slots: int) -> None:
    assert value(power(model).slots) == slots


def test_one_slot_is_told_as_one() -> None:
    slots = power("RTX A4000", "RTX 5090").slots
    alone = power("RTX A4000").slots

    assert slots is not None
    assert (slots.unit, slots.source) == ("slots", "1 slot + 2 slots")
    assert alone is not None
    assert alone.unit == "slot"


def test_slots_are_unknown_as_soon_as_one_card_is() -> None:
    assert power("RTX 5090", None).slots is None
    assert power("RTX 4090 Mobile").slots is None


def test_the_longest_card_is_told() -> None:
    assert value(power("RTX 5070 Ti", "RTX 3090 Ti", None).longest) == 336


def test_the_same_node_gives_the_same_answer() -> None:
    assert power("RTX 5090", "RTX 4090", psu=1000) == power("RTX 5090", "RTX 4090", psu=1000)


@pytest.mark.parametrize(("psu", "verdict"), [(710, Verdict.OK), (580, Verdict.TIGHT), (560, Verdict.NOT_ENOUGH)])
def test_peaks_over_145_percent_are_tight_and_over_180_not_enough(psu: int, verdict: Verdict) -> None:
    assert judged(power("RTX 5090", psu=psu, other=100), "transients").verdict is verdict


def test_what_is_known_to_be_tight_outweighs_what_is_unknown() -> None:
    node_power = power("RTX 5090", None, psu=710, other=100)

    assert {judgement.verdict for judgement in node_power.judgements[:2]} == {Verdict.TIGHT, Verdict.UNKNOWN}
    assert node_power.verdict is Verdict.TIGHT
