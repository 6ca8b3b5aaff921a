"""The figures of an upgrade, by those of Hydra, which were worked out by hand before Corral was."""

from __future__ import annotations

import pytest

from corral.planning.upgrade import Advice, Upgrade
from corral.planning.upgrade.capacity import Seating
from corral.planning.upgrade.choices import Freedom
from corral.planning.upgrade.hardware import GpuChangeKind
from corral.planning.upgrade.power import ItemState
from corral.planning.upgrade.report import to_markdown
from doubles.upgrades import HYDRA, TWO_EQUAL, hydra, upgrade_of

GIB = 2**30


@pytest.fixture(scope="module")
def upgrade() -> Upgrade:
    return hydra().upgrade


def test_the_cluster_has_4_gib_more(upgrade: Upgrade) -> None:
    memory = upgrade.hardware.memory

    assert memory.before is not None
    assert memory.after is not None
    assert (memory.before.value, memory.after.value, memory.change) == (84 * GIB, 88 * GIB, 4 * GIB)


@pytest.mark.parametrize(
    ("row", "before", "after"),
    [
        ("GPU power", 470, 600),
        ("Whole machine, estimated", 620, 750),
        ("Recommended power supply", 750, 850),
        ("Power supply in the file", 1000, 1000),
        ("Load of that supply", 62, 75),
    ],
)
def test_power_is_what_it_was_worked_out_to_be(row: str, before: float, after: float, upgrade: Upgrade) -> None:
    figures = next(candidate for candidate in upgrade.power[0].rows if candidate.name == row)

    assert figures.before is not None
    assert figures.after is not None
    assert (figures.before.value, figures.after.value) == (before, after)


def test_the_gpus_ask_the_12_v_rail_for_50_amperes(upgrade: Upgrade) -> None:
    current = next(row for row in upgrade.power[0].rows if row.name.startswith("Current"))

    assert current.after is not None
    assert (current.after.value, current.after.unit) == (50, "A")


def test_what_the_file_proves_is_done_and_what_it_cannot_prove_is_open(upgrade: Upgrade) -> None:
    states = {item.what: item.state for item in upgrade.power[0].actions}

    assert states["Power supply of at least 850 W"] is ItemState.PROVEN
    assert states["12 V rail of 50 A for the GPUs"] is ItemState.PROVEN
    assert states["Airflow of the case"] is ItemState.OPEN


def test_a_supply_that_nobody_states_is_open() -> None:
    text = TWO_EQUAL.replace("    psu: {watts: 1000, otherWatts: 150}\n", "")

    item = upgrade_of(text, ("add", "box=RTX 5070 Ti")).power[0].actions[0]

    assert item.state is ItemState.OPEN


def test_a_mixed_node_becomes_one_pool(upgrade: Upgrade) -> None:
    (node,) = upgrade.hardware.changed
    rows = upgrade.complexity[0].rows
    counts = {row.name: (row.before and row.before.value, row.after and row.after.value) for row in rows}

    assert node.becomes_homogeneous
    assert counts["Models of GPU"] == (2, 1)
    assert counts["Queues for a part of the node"] == (2, 0)
    assert counts["Pins of a service to one GPU"] == (2, 0)


def test_labels_are_added_changed_and_removed(upgrade: Upgrade) -> None:
    (labels,) = upgrade.labels

    assert ("hydra.io/vram-total", "28", "32") in labels.changed
    assert ("hydra.io/homogeneous", "false", "true") in labels.changed
    assert labels.added == (("hydra.io/gpu-class", "5070ti"),)
    assert "kubectl label node hydra-compute hydra.io/has-3060-" in labels.commands


def test_no_agent_flag_gives_a_key_twice(upgrade: Upgrade) -> None:
    (flags,) = upgrade.agent_flags
    keys = [flag.rpartition("=")[0] for flag in flags.after]

    assert len(keys) == len(set(keys))
    assert "--node-label=hydra.io/has-3060=true" not in flags.after


def test_training_gets_a_second_card(upgrade: Upgrade) -> None:
    training = next(choice for choice in upgrade.choices if choice.service == "lora-training")

    assert training.freedom is Freedom.WIDER
    assert training.before is not None
    assert training.before.fits == ("hydra-compute/gpu0",)
    assert dict(training.before.refused)["hydra-compute/gpu1"] == "14.0 GiB do not fit: 11.5 GiB can be used"


def test_a_service_survives_a_card_only_where_another_holds_it(upgrade: Upgrade) -> None:
    survival = {survival.service: (survival.before, survival.after) for survival in upgrade.survivals}

    assert survival["lora-training"] == (False, True)
    assert survival["comfyui"] == (True, True)
    assert {survival.one_node for survival in upgrade.survivals} == {"hydra-ai", "hydra-compute"}


def test_a_33b_model_at_4_bits_needs_about_10_gib_on_each_of_two_cards(upgrade: Upgrade) -> None:
    fit = next(fit for fit in upgrade.capacity[0].fits if fit.model.startswith("33b"))

    assert fit.on_each is not None
    assert 9.5 * GIB < fit.on_each.value < 11 * GIB
    assert (fit.before, fit.after) == (Seating.SPLIT, Seating.SPLIT)


def test_what_is_proposed_is_one_queue_two_replicas_and_two_addresses(upgrade: Upgrade) -> None:
    assert [adaptation.about for adaptation in upgrade.adaptations] == [
        "queue hydra-compute-pool",
        "service comfyui",
        "engine comfyui",
    ]


def test_proposals_are_written_only_when_they_are_asked_for() -> None:
    plain, adapted = hydra().after, hydra(adapting=True).after

    assert plain.cluster.services["comfyui"].replicas == 1
    assert adapted.cluster.services["comfyui"].replicas == 2
    assert adapted.cluster.layouts["pool"].services["comfyui"].gpus == (0, 1)
    assert adapted.cluster.queues["hydra-compute-pool"].pool == ("hydra-compute/gpu0", "hydra-compute/gpu1")
    assert "5070ti-queue" not in adapted.cluster.queues
    assert "# voice; on the RTX 3060" in adapted.text


def test_proposing_again_finds_nothing_left(upgrade: Upgrade) -> None:
    again = [adaptation for adaptation in hydra(adapting=True).upgrade.adaptations if adaptation.edits]

    assert again == []


def test_a_card_that_moves_changes_both_nodes() -> None:
    text = TWO_EQUAL.replace("services:", "  - {name: other, gpus: [{model: RTX 5070 Ti, index: 0}]}\nservices:")

    upgrade = upgrade_of(text, ("move", "box/gpu1=other"))

    assert {node.name: node.memory.change for node in upgrade.hardware.changed} == {"box": -16 * GIB, "other": 16 * GIB}
    assert upgrade.hardware.memory.change == 0
    assert [change.kind for change in upgrade.hardware.changes] == [GpuChangeKind.MOVED]


def test_cards_behind_one_that_goes_are_the_same_cards() -> None:
    text = TWO_EQUAL.replace("{model: RTX 5070 Ti, index: 1}", "{model: RTX 4090, index: 1}")

    upgrade = upgrade_of(text, ("remove", "box/gpu0"))

    assert [(change.kind, change.gpu) for change in upgrade.hardware.changes] == [
        (GpuChangeKind.RENUMBERED, "box/gpu0"),
        (GpuChangeKind.REMOVED, "box/gpu0"),
    ]


def test_a_new_node_has_no_before() -> None:
    upgrade = upgrade_of(TWO_EQUAL, ("add-node", "next=RTX 5090"))

    (node,) = upgrade.hardware.changed
    assert node.before is None
    assert upgrade.hardware.memory.change == 32 * GIB


def test_what_stays_is_listed(upgrade: Upgrade) -> None:
    assert upgrade.unchanged.nodes == ("hydra-ai", "hydra-storage")
    assert "postgresql" in upgrade.unchanged.services
    assert upgrade.unchanged.kubernetes == "k3s at https://192.168.1.250:6443"


def test_the_room_for_one_model_is_what_context_and_buffers_leave(upgrade: Upgrade) -> None:
    room = upgrade.capacity[0].room

    assert room.before is not None
    assert room.after is not None
    assert room.change == 4 * GIB
    assert 31 * GIB - room.after.value == 27 * GIB - room.before.value > GIB, "two GPUs, half a GiB and more on each"


def test_a_label_that_keeps_its_value_has_not_changed(upgrade: Upgrade) -> None:
    (labels,) = upgrade.labels

    assert [key for key, _, _ in labels.changed] == ["hydra.io/homogeneous", "hydra.io/vram-total"]
    assert ("hydra.io/workload", "training") in labels.kept


def test_a_queue_that_has_all_cards_is_left_alone() -> None:
    text = TWO_EQUAL + "queues: [{name: both, pool: [box/gpu0, box/gpu1]}]\n"

    assert upgrade_of(text, ("limit", "box=250")).adaptations == ()


def test_a_supply_below_the_advice_is_not_checked_off() -> None:
    item = hydra(*HYDRA, ("psu", "hydra-compute=800")).upgrade.power[0].actions[0]

    assert item.state is ItemState.OPEN
    assert item.evidence == "800 W in the file"


def test_what_had_no_place_before_is_not_lost_by_the_upgrade() -> None:
    text = TWO_EQUAL.replace("workloads:", "  - {name: huge, node: box, gpus: 1, gpuMemory: 99Gi}\nworkloads:")

    upgrade = upgrade_of(text, ("limit", "box=250"))

    assert [change.lost for change in upgrade.distribution] == [()]
    assert upgrade.recommendation.advice is Advice.GO


def test_no_command_of_nvidia_is_given_for_a_card_of_another_maker() -> None:
    upgrade = upgrade_of(TWO_EQUAL.replace("RTX 5070 Ti", "RX 7900 XTX"), ("limit", "box=250"))

    (item,) = [item for node in upgrade.power for item in node.actions if "power limits of the file" in item.what]
    assert item.evidence.startswith("250 W on GPU 0 with its driver's tool, 250 W on GPU 1")
    assert "C01" not in {correction.id for correction in upgrade.corrections}


def test_part_4_shows_what_is_rendered(upgrade: Upgrade) -> None:
    part = to_markdown(upgrade).partition("## Part 4")[2].partition("## Part 5")[0]

    assert '+      "hydra.io/gpu-class=5070ti"' in part, "the NixOS module of the node"
    assert "+  name: comfyui-1" in part, "the Deployment and the Service of the second replica"
    assert ("hydra.io/gpu-count", "2") in upgrade.labels[0].kept


def rows_of(upgrade: Upgrade) -> dict[str, tuple[str, str]]:
    return {row.name: (row.before_text, row.after_text) for node in upgrade.power for row in node.rows}


def test_heat_and_energy_are_told_with_the_limits_too(upgrade: Upgrade) -> None:
    rows = rows_of(upgrade)

    assert rows["Whole machine at the wall"] == ("775 W", "938 W")
    assert rows["Heat into the room"] == ("2,644 BTU/h", "3,199 BTU/h")
    assert rows["Heat into the room with the limits of the file"] == ("2,644 BTU/h", "2,772 BTU/h")
    assert rows["Energy of a night with the limits of the file"] == ("6.2 kWh", "6.5 kWh")
    assert "With the limits of the file 650 W become 2,772 BTU/h (+128 BTU/h)." in to_markdown(upgrade)


def test_without_a_tariff_the_cost_of_a_night_is_told_to_be_unknown() -> None:
    unpriced = to_markdown(upgrade_of(TWO_EQUAL, ("limit", "box=250")))
    priced = to_markdown(upgrade_of(TWO_EQUAL + "electricity: {pricePerKwh: 0.3}\n", ("limit", "box=250")))

    assert "The cost of a night is unknown" in unpriced
    assert "The cost of a night is unknown" not in priced
    assert "| Cost of a night with the limits of the file |" in priced


def test_where_no_supply_is_large_enough_the_report_says_so() -> None:
    done = upgrade_of(TWO_EQUAL, ("add", "box=RTX 5090,RTX 5090,RTX 5090"))

    assert rows_of(done)["Recommended power supply"] == ("850 W", "no single supply (1,600 W is the largest)")
    assert "unknown" not in " ".join(done.recommendation.would_change)


def test_what_a_new_node_had_before_is_nothing_and_not_unknown() -> None:
    done = upgrade_of(TWO_EQUAL, ("add-node", "next=RTX 5090"))

    assert {before for before, _ in rows_of(done).values()} == {"-"}
    assert rows_of(done)["GPU power"] == ("-", "575 W")
    assert "| GPU power | - | 575 W | - | computed: 575 W |" in to_markdown(done)


def test_a_service_with_other_cards_is_not_unchanged(upgrade: Upgrade) -> None:
    services = upgrade.unchanged.services

    assert {"gpt-sovits", "lora-training", "comfyui"}.isdisjoint(services)
    assert {"animatediff", "postgresql"} <= set(services), "it takes turns on the same GPUs as before"


def test_a_queue_that_no_file_writes_is_not_listed_as_unchanged(upgrade: Upgrade) -> None:
    assert upgrade.unchanged.queues == ()


def test_where_no_duration_is_known_the_tasks_at_once_still_are(upgrade: Upgrade) -> None:
    part = to_markdown(upgrade).partition("### 3.1")[2].partition("### 3.2")[0]

    assert "| voice | 1 → 2 | unknown → unknown | unknown |" in part
    assert "| images | 1 → 2 | 120 images/h → 240 images/h | 2x |" in part


def test_a_service_of_unknown_need_is_not_said_to_survive() -> None:
    text = TWO_EQUAL.partition("services:")[0] + "services: [{name: secret, gpus: 1, image: 'example.org/x:1'}]\n"
    upgrade = upgrade_of(text, ("replace", "box/gpu1=RTX 3060 12GB"))

    (survival,) = upgrade.survivals
    assert (survival.before, survival.after, survival.is_unknown) == (None, None, True)
    assert "| secret | 2 | unknown | 2 | unknown |" in to_markdown(upgrade)


def test_a_service_fits_by_what_its_models_need_as_in_a_plan() -> None:
    service = "services: [{name: chat, engines: [ollama], gpus: 1, models: ['qwen3:32b']}]\n"
    text = TWO_EQUAL.partition("services:")[0] + service
    upgrade = upgrade_of(text, ("replace", "box/gpu1=RTX 4090"))

    (choice,) = upgrade.choices
    assert choice.before is not None
    assert choice.after is not None
    assert (choice.before.fits, choice.after.fits) == ((), ("box/gpu1",))


def test_encoders_and_codecs_are_compared() -> None:
    report = to_markdown(upgrade_of(TWO_EQUAL.replace("RTX 5070 Ti", "RTX 3090"), ("replace", "box/gpu1=RTX 5090")))

    assert "| box | before | 2 | H.264, HEVC, HEVC 10-bit | 2 |" in report
    assert "| box | after | 4 | H.264, HEVC, HEVC 10-bit, AV1, H.264 4:2:2, HEVC 4:2:2 | 3 |" in report
    assert "box encodes AV1, H.264 4:2:2, HEVC 4:2:2 now" in report
    assert "8 or more at once" in report


def test_an_undervolt_is_explained_next_to_a_limit() -> None:
    report = to_markdown(upgrade_of(TWO_EQUAL, ("limit", "box=250")))

    assert "An undervolt moves that curve" in report
    assert "nvidia-smi -i 0 -lgc 0,2452" in report
