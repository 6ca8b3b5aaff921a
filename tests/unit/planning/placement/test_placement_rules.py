"""What a plan never does, on clusters of every shape; and that small ones get the best plan there is."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings

from corral.planning.placement.demand import asks_of
from corral.planning.placement.greedy import fill
from corral.planning.placement.ledger import Room
from corral.planning.placement.planner import plan
from corral.planning.placement.search import counted_search
from corral.planning.placement.values import Tier, machines_of
from doubles.placements import best_counts, broken_rules, clusters, seats_of

_MOST_UNITS = 6
"""Trying every plan takes too long with more replicas."""


def parts(cluster):
    layout = cluster.layouts.get("pool")
    machines = machines_of(cluster)
    return layout, machines, asks_of(cluster, layout, {}, machines)


@settings(max_examples=150)
@given(clusters())
def test_no_plan_gives_a_card_or_memory_twice_or_breaks_a_pin(cluster):
    layout, machines, asks = parts(cluster)

    assert broken_rules(seats_of(plan(cluster, layout, {}), asks), machines) == []


@settings(max_examples=120, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(clusters(most_nodes=2, most_cards=2))
def test_a_small_cluster_gets_the_best_plan_there_is_and_the_proof_of_it(cluster):
    layout, machines, asks = parts(cluster)
    assume(sum(ask.replicas for ask in asks) <= _MOST_UNITS)

    found = plan(cluster, layout, {})

    assert tuple(proof.placed for proof in found.proofs) == best_counts(asks, machines)
    assert found.gap == 0
    assert all(proof.gap == 0 for proof in found.proofs)


@settings(max_examples=80)
@given(clusters(most_nodes=4, most_cards=4, most_services=8))
def test_what_is_counted_for_a_large_cluster_breaks_no_rule_and_its_bound_holds(cluster):
    layout, machines, asks = parts(cluster)
    room = Room(machines)
    fill(room, asks)

    counted = counted_search(machines, asks, room)

    by_place = {ask.place: ask for ask in asks}
    assert broken_rules([(by_place[place], *seat) for (place, _), seat in counted.room.seats.items()], machines) == []
    exact = plan(cluster, layout, {})
    worth = {Tier.FIRST: 100, Tier.FURTHER: 10, Tier.ON_DEMAND: 1}
    best = sum(worth[proof.tier] * proof.placed for proof in exact.proofs)
    reached = sum(worth[proof.tier] * proof.placed for proof in counted.proofs)
    assert best * (1 - counted.gap) <= reached + 1e-6


@settings(max_examples=100)
@given(clusters(most_nodes=4, most_cards=4, most_services=8))
def test_everything_that_is_asked_for_is_placed_or_has_a_reason_on_every_gpu(cluster):
    layout, machines, asks = parts(cluster)

    found = plan(cluster, layout, {})

    assert len(found.placed) + len(found.unplaced) == sum(ask.replicas for ask in asks)
    for one in found.unplaced:
        wants = next(ask for ask in asks if ask.name == one.ask).gpus
        places = {refusal.place for refusal in one.refusals}
        expected = {card.name for machine in machines for card in machine.cards} if wants else set()
        assert expected <= places
        assert all(refusal.reason and refusal.reason != "has room" for refusal in one.refusals)


@settings(max_examples=50)
@given(clusters(most_nodes=4, most_cards=4, most_services=8))
def test_the_same_cluster_has_the_same_plan(cluster):
    layout, _, _ = parts(cluster)

    first, second = plan(cluster, layout, {}), plan(cluster, layout, {})

    assert first.placed == second.placed
    assert first.cautions == second.cautions
    assert [list(one.refusals) for one in first.unplaced] == [list(one.refusals) for one in second.unplaced]
