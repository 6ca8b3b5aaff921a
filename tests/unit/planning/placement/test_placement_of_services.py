"""What goes where, one rule at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from corral.cluster.values import Placement, Service, Storage, StorageKind
from corral.figures import Origin
from corral.planning.placement.planner import plan_layout
from corral.planning.placement.values import Tier
from doubles.placements import GIB, a_cluster, a_need, a_node, gib

POOL = (("RTX 5070 Ti", 16), ("RTX 5070 Ti", 16))


def planned(cluster, needs=None):
    return plan_layout(cluster, cluster.layouts.get("pool"), needs or {})


def places(plan):
    return {(replica.demand, replica.replica): (replica.node, replica.gpus) for replica in plan.placed}


def reasons(plan, name):
    unplaced = next(candidate for candidate in plan.unplaced if candidate.demand == name)
    return {refusal.gpu_or_node: refusal.reason for refusal in unplaced.refusals}


def test_a_whole_gpu_is_shared_with_nobody():
    services = [Service(name="a", gpus=1, gpu_memory=gib(2)), Service(name="b", gpus=1, gpu_memory=gib(2))]

    plan = planned(a_cluster([a_node("n", ("RTX 4090", 24))], services))

    assert places(plan) == {("a", 0): ("n", (0,))}
    assert reasons(plan, "b") == {"n/gpu0": "held by a"}


def test_a_plan_in_which_every_gpu_is_taken_is_proven_without_a_solver():
    program = (
        "import sys; from corral.cluster import load; from corral.planning.placement.planner import plan_layout;"
        "cluster = load(open('examples/hydra/before.yaml').read(), filename='before.yaml');"
        "proofs = plan_layout(cluster, next(iter(cluster.layouts.values())), {}).proofs;"
        "print([(proof.asked, proof.placed, proof.at_most) for proof in proofs], 'highspy' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout.strip() == "[(11, 11, 11), (0, 0, 0), (3, 0, 0)] False"


def test_services_that_declare_memory_and_no_gpu_share_a_card_up_to_what_is_usable():
    services = [Service(name=name, gpu_memory=gib(8)) for name in ("a", "b", "c")]

    plan = planned(a_cluster([a_node("n", ("RTX 4090", 24))], services))

    assert places(plan) == {("a", 0): ("n", (0,)), ("b", 0): ("n", (0,))}
    assert reasons(plan, "c") == {"n/gpu0": "needs 8.0 GiB, 7.5 GiB left next to a, b"}


def test_what_the_driver_keeps_is_planned_for_nobody():
    plan = planned(a_cluster([a_node("n", ("RTX 5070 Ti", 16))], [Service(name="a", gpus=1, gpu_memory=gib(16))]))

    assert reasons(plan, "a") == {"n/gpu0": "needs 16.0 GiB, 15.5 GiB usable"}


def test_services_of_one_pod_share_a_card_and_its_memory():
    services = [Service(name="a", gpus=1, gpu_memory=gib(6)), Service(name="b", gpus=1, gpu_memory=gib(9))]
    layout = {"a": Placement(pod="both"), "b": Placement(pod="both")}

    plan = planned(a_cluster([a_node("n", *POOL)], services, layout))

    (replica,) = plan.placed
    assert (replica.demand, replica.services, replica.gpus) == ("both", ("a", "b"), (0,))
    assert replica.memory is not None
    assert (replica.memory.value, replica.memory.source) == (15 * GIB, "6.0 GiB (a) + 9.0 GiB (b)")


def test_first_replicas_go_before_further_ones_and_those_before_what_is_on_demand():
    services = [
        Service(name="big", gpus=1, replicas=2),
        Service(name="late", gpus=1),
        Service(name="unnamed", gpus=1),
    ]

    plan = planned(a_cluster([a_node("n", *POOL)], services, {"big": Placement(), "late": Placement()}))

    assert set(places(plan)) == {("big", 0), ("late", 0)}
    assert {(unplaced.demand, unplaced.tier) for unplaced in plan.unplaced} == {
        ("big", Tier.FURTHER),
        ("unnamed", Tier.ON_DEMAND),
    }


def test_what_is_on_demand_takes_turns_where_it_would_fit_and_is_not_missing():
    services = [Service(name="held", gpus=1), Service(name="now and then", gpus=1, gpu_memory=gib(14))]
    node = a_node("n", ("RTX 5070 Ti", 16), ("RTX 3060 12GB", 12))
    layout = {"held": Placement(node="n", gpus=(0,))}

    plan = planned(a_cluster([node], services, layout))

    (unplaced,) = plan.unplaced
    assert unplaced.turns == ("n/gpu0",)
    assert unplaced.turns_with == ("held",)
    assert plan.missing == ()


def test_what_is_on_demand_and_fits_nowhere_is_missing():
    services = [Service(name="held", gpus=1), Service(name="huge", gpus=1, gpu_memory=gib(40))]

    plan = planned(a_cluster([a_node("n", *POOL)], services, {"held": Placement()}))

    assert [unplaced.demand for unplaced in plan.missing] == ["huge"]


def test_a_local_volume_keeps_its_service_on_its_node():
    disk = Storage(name="models", kind=StorageKind.LOCAL, node="b")
    nodes = [a_node("a", ("RTX 5090", 32)), a_node("b", ("RTX 3070", 8))]

    plan = planned(a_cluster(nodes, [Service(name="s", gpus=1, storage=("models",))], storage=[disk]))

    assert places(plan) == {("s", 0): ("b", (0,))}
    assert [caution.pitfall for caution in plan.cautions if caution.where == "s" and caution.pitfall] == ["E01"]


def test_a_layout_keeps_a_service_to_the_gpus_it_names():
    services = [Service(name="s", gpus=1, replicas=2)]

    plan = planned(a_cluster([a_node("n", *POOL)], services, {"s": Placement(node="n", gpus=(1,))}))

    assert places(plan) == {("s", 0): ("n", (1,))}
    assert reasons(plan, "s") == {"n/gpu0": "the layout keeps it to gpu1", "n/gpu1": "held by s #1"}
    assert "A07" in [caution.pitfall for caution in plan.cautions]


def test_several_gpus_of_a_replica_are_on_one_node():
    nodes = [a_node("a", ("RTX 4090", 24)), a_node("b", ("RTX 4090", 24))]

    plan = planned(a_cluster(nodes, [Service(name="s", gpus=2)]))

    assert plan.placed == ()
    assert set(reasons(plan, "s").values()) == {"wants 2 GPUs of one node, 1 here would do"}
    assert "A06" in [caution.pitfall for caution in plan.cautions]


def test_several_gpus_of_a_replica_are_of_one_model_where_that_can_be():
    node = a_node("n", ("RTX 3090", 24), ("RTX 4090", 24), ("RTX 4090", 24))

    plan = planned(a_cluster([node], [Service(name="s", gpus=2, gpu_memory=gib(10))]))

    assert places(plan) == {("s", 0): ("n", (1, 2))}


def test_replicas_are_spread_over_nodes():
    nodes = [a_node("a", *POOL), a_node("b", *POOL)]

    plan = planned(a_cluster(nodes, [Service(name="s", gpus=1, replicas=2)]))

    assert {node for node, _ in places(plan).values()} == {"a", "b"}


def test_a_replica_takes_the_smallest_card_that_does():
    nodes = [a_node("n", ("RTX 5090", 32), ("RTX 5070 Ti", 16), ("RTX 4090", 24))]

    plan = planned(a_cluster(nodes, [Service(name="s", gpus=1, gpu_memory=gib(10))]))

    assert places(plan) == {("s", 0): ("n", (1,))}


def test_a_service_of_unknown_need_gets_the_largest_card_alone():
    nodes = [a_node("n", ("RTX 5070 Ti", 16), ("RTX 4090", 24))]

    plan = planned(a_cluster(nodes, [Service(name="s", gpus=1)]))

    assert places(plan) == {("s", 0): ("n", (1,))}
    assert plan.placed[0].memory is None


def test_main_memory_that_is_requested_is_not_given_twice():
    nodes = [a_node("a", *POOL, memory=16), a_node("b", ("RTX 4090", 24), memory=64)]
    services = [Service(name=name, gpus=1, gpu_memory=gib(4), memory_request=gib(10)) for name in ("s", "t")]

    plan = planned(a_cluster(nodes, services))

    assert sorted(node for node, _ in places(plan).values()) == ["a", "b"]


def test_limits_that_exceed_the_memory_of_a_node_are_told():
    services = [Service(name="s", gpus=1, replicas=2, memory_request=gib(4), memory_limit=gib(24))]

    plan = planned(a_cluster([a_node("n", *POOL, memory=32)], services))

    (caution,) = [candidate for candidate in plan.cautions if candidate.pitfall == "A25"]
    assert caution.where == "n"
    assert "48.0 GiB" in caution.what
    assert "30.0 GiB" in caution.what


def test_a_service_without_needs_may_run_anywhere():
    plan = planned(a_cluster([a_node("n")], [Service(name="web")]))

    assert places(plan) == {("web", 0): (None, ())}


def test_a_card_of_unknown_memory_is_given_whole_but_never_shared():
    nodes = [a_node("n", ("mystery", None))]

    whole = planned(a_cluster(nodes, [Service(name="s", gpus=1, gpu_memory=gib(4))]))
    part = planned(a_cluster(nodes, [Service(name="s", gpu_memory=gib(4))]))

    assert places(whole) == {("s", 0): ("n", (0,))}
    assert reasons(part, "s") == {"n/gpu0": "its VRAM is unknown, so it cannot be shared"}


def test_all_models_of_a_service_have_room_at_once_where_a_card_can_hold_them():
    service = Service(name="s", engines=("ollama",), models=("m", "n"), gpus=1)
    needs = {("ollama", "m"): a_need("ollama", "m", 9, 1), ("ollama", "n"): a_need("ollama", "n", 5, 1)}
    nodes = [a_node("n", ("RTX 5070 Ti", 16), ("RTX 4090", 24))]

    plan = planned(a_cluster(nodes, [service]), needs)

    (replica,) = plan.placed
    assert replica.gpus == (1,)
    assert replica.memory is not None
    assert (replica.memory.value, replica.memory.origin) == (16 * GIB, Origin.COMPUTED)


def test_models_that_no_card_holds_together_take_turns_and_that_is_told():
    service = Service(name="s", engines=("ollama",), models=("m", "n", "huge"), gpus=1)
    needs = {("ollama", model): a_need("ollama", model, size) for model, size in (("m", 9), ("n", 8), ("huge", 40))}

    plan = planned(a_cluster([a_node("n", ("RTX 5070 Ti", 16))], [service]), needs)

    (replica,) = plan.placed
    assert replica.memory is not None
    assert replica.memory.value == 9 * GIB
    assert plan.totals[0].open_ended
    assert [(caution.pitfall, caution.where) for caution in plan.cautions] == [("B08", "s: huge"), ("B10", "s")]


@pytest.mark.parametrize(
    ("model", "size", "words"),
    [
        ("big", 40, "many times slower"),
        ("huge", 60, "more than the 30.0 GiB of main memory"),
        ("wan2.2-t2v-14b", 60, "take turns on the GPU"),
    ],
)
def test_a_model_that_gpu_and_main_memory_do_not_hold_together_is_not_called_slow(model, size, words):
    service = Service(name="s", engines=("ollama",), models=(model,), gpus=1)
    node = replace(a_node("n", ("RTX 3060 12 GB", 12)), memory=32 * GIB)

    plan = planned(a_cluster([node], [service]), {("ollama", model): a_need("ollama", model, size)})

    (caution,) = [caution for caution in plan.cautions if caution.pitfall == "B08"]
    assert words in caution.what


def test_an_engine_that_holds_all_its_models_at_once_needs_room_for_all():
    service = Service(name="s", engines=("whisper",), models=("m", "n"), gpus=1)
    needs = {("whisper", model): a_need("whisper", model, 9) for model in ("m", "n")}

    plan = planned(a_cluster([a_node("n", ("RTX 5070 Ti", 16))], [service]), needs)

    assert reasons(plan, "s") == {"n/gpu0": "needs 18.0 GiB, 15.5 GiB usable"}


def test_a_split_model_needs_its_share_and_its_floor_on_each_card():
    service = Service(name="s", engines=("llama",), models=("m",), gpus=2)

    plan = planned(a_cluster([a_node("n", *POOL)], [service]), {("llama", "m"): a_need("llama", "m", 24, 1)})

    assert plan.placed[0].memory is not None
    assert plan.placed[0].memory.value == 13 * GIB


@pytest.mark.parametrize("described", [True, False])
def test_a_node_without_cards_says_whether_that_is_known(described):
    node = a_node("n")
    nodes = [node if described else type(node)(name="n")]

    plan = planned(a_cluster(nodes, [Service(name="s", gpus=1)]))

    expected = "has no GPU" if described else "the file does not say which GPUs it has"
    assert reasons(plan, "s") == {"n": expected}


def test_pins_that_contradict_each_other_are_the_reason_everywhere():
    disk = Storage(name="models", kind=StorageKind.LOCAL, node="b")
    nodes = [a_node("a", ("RTX 4090", 24)), a_node("b", ("RTX 4090", 24))]
    services = [Service(name="s", gpus=1, node="a", storage=("models",))]

    plan = planned(a_cluster(nodes, services, storage=[disk]))

    assert reasons(plan, "s") == {"a/gpu0": "its volume models is on b", "b/gpu0": "the file keeps it on a"}


def test_a_pool_that_fills_up_stays_spread():
    nodes = [a_node("a", *POOL), a_node("b", *POOL), a_node("c", ("RTX 3060 12GB", 12))]
    services = [
        Service(name="wide", gpus=1, gpu_memory=gib(10), replicas=2),
        Service(name="small", gpus=1, gpu_memory=gib(6)),
        Service(name="other", gpus=1, gpu_memory=gib(14), replicas=2),
    ]

    plan = planned(a_cluster(nodes, services))

    assert len(plan.placed) == 5
    assert (plan.preference.crowded, plan.preference.mixed) == (0, 0)
    assert places(plan)["small", 0] == ("c", (0,))


def test_a_volume_that_is_smaller_than_its_models_is_told():
    disk = Storage(name="models", kind=StorageKind.LOCAL, node="n", size=gib(30))
    service = Service(name="s", engines=("ollama",), models=("deepseek-r1:70b",), gpus=1, node="n", storage=("models",))

    plan = planned(a_cluster([a_node("n", ("RTX 4090", 24))], [service], storage=[disk]))

    (caution,) = [candidate for candidate in plan.cautions if candidate.pitfall == "E09"]
    assert caution.where == "models"
    assert "30.0 GiB" in caution.what


def test_replicas_of_one_local_volume_stay_on_its_node_and_that_is_told():
    disk = Storage(name="models", kind=StorageKind.LOCAL, node="n")
    service = Service(name="s", gpus=1, replicas=2, storage=("models",))

    plan = planned(a_cluster([a_node("n", *POOL), a_node("m", *POOL)], [service], storage=[disk]))

    assert {node for node, _ in places(plan).values()} == {"n"}
    assert [caution.pitfall for caution in plan.cautions if caution.pitfall] == ["E01", "E03"]
