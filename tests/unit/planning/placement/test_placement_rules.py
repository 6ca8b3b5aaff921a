"""What a plan never does, on clusters of every shape; and that small ones get the best plan there is."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings

from corral.planning.placement.demand import list_demands
from corral.planning.placement.greedy import fill
from corral.planning.placement.ledger import Ledger
from corral.planning.placement.planner import plan_layout
from corral.planning.placement.search import search_by_count
from corral.planning.placement.values import Tier, list_machines
from doubles.chances import MANY
from doubles.placements import best_counts, broken_rules, clusters, seats_of

_MOST_UNITS = 6
"""Trying every plan takes too long with more replicas."""


def parts(cluster):
    layout = cluster.layouts.get("pool")
    machines = list_machines(cluster)
    return layout, machines, list_demands(cluster, layout, {}, machines)


@settings(MANY, max_examples=150)
@given(clusters())
def test_no_plan_gives_a_card_or_memory_twice_or_breaks_a_pin(cluster):
    layout, machines, demands = parts(cluster)

    assert broken_rules(seats_of(plan_layout(cluster, layout, {}), demands), machines) == []


@settings(MANY, max_examples=120, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(clusters(most_nodes=2, most_cards=2))
def test_a_small_cluster_gets_the_best_plan_there_is_and_the_proof_of_it(cluster):
    layout, machines, demands = parts(cluster)
    assume(sum(demand.replicas for demand in demands) <= _MOST_UNITS)

    plan = plan_layout(cluster, layout, {})

    assert tuple(proof.placed for proof in plan.proofs) == best_counts(demands, machines)
    assert plan.gap == 0
    assert all(proof.gap == 0 for proof in plan.proofs)


@settings(MANY, max_examples=80)
@given(clusters(most_nodes=4, most_cards=4, most_services=8))
def test_what_is_counted_for_a_large_cluster_breaks_no_rule_and_its_bound_holds(cluster):
    layout, machines, demands = parts(cluster)
    ledger = Ledger(machines)
    fill(ledger, demands)

    counted = search_by_count(machines, demands, ledger)

    by_number = {demand.number: demand for demand in demands}
    assert (
        broken_rules(
            [(by_number[number], *location) for (number, _), location in counted.ledger.locations.items()], machines
        )
        == []
    )
    exact = plan_layout(cluster, layout, {})
    worth = {Tier.FIRST: 100, Tier.FURTHER: 10, Tier.ON_DEMAND: 1}
    best = sum(worth[proof.tier] * proof.placed for proof in exact.proofs)
    reached = sum(worth[proof.tier] * proof.placed for proof in counted.proofs)
    assert best * (1 - counted.gap) <= reached + 1e-6


@settings(MANY, max_examples=100)
@given(clusters(most_nodes=4, most_cards=4, most_services=8))
def test_everything_that_is_asked_for_is_placed_or_has_a_reason_on_every_gpu(cluster):
    layout, machines, demands = parts(cluster)

    plan = plan_layout(cluster, layout, {})

    assert len(plan.placed) + len(plan.unplaced) == sum(demand.replicas for demand in demands)
    for unplaced in plan.unplaced:
        wants = next(demand for demand in demands if demand.name == unplaced.demand).gpus
        places = {refusal.gpu_or_node for refusal in unplaced.refusals}
        expected = {gpu.name for machine in machines for gpu in machine.gpus} if wants else set()
        assert expected <= places
        assert all(refusal.reason and refusal.reason != "has room" for refusal in unplaced.refusals)


@settings(MANY, max_examples=50)
@given(clusters(most_nodes=4, most_cards=4, most_services=8))
def test_the_same_cluster_has_the_same_plan(cluster):
    layout, _, _ = parts(cluster)

    first, second = plan_layout(cluster, layout, {}), plan_layout(cluster, layout, {})

    assert first.placed == second.placed
    assert first.cautions == second.cautions
    assert [list(unplaced.refusals) for unplaced in first.unplaced] == [
        list(unplaced.refusals) for unplaced in second.unplaced
    ]
