"""Makes the plan of one layout."""

from __future__ import annotations

from collections.abc import Sequence

from corral.cluster.values import Cluster, Layout
from corral.planning.placement.cautions import cautions_of
from corral.planning.placement.demand import Ask, asks_of
from corral.planning.placement.eligibility import Reach, Refusals, why_here
from corral.planning.placement.greedy import preference_of, tidy
from corral.planning.placement.ledger import Room, unit_name
from corral.planning.placement.search import search
from corral.planning.placement.values import (
    Card,
    CardTotal,
    Placed,
    Plan,
    Unplaced,
    machines_of,
)
from corral.planning.placement.vram import Needs


def plan(cluster: Cluster, layout: Layout | None, needs: Needs) -> Plan:
    """Place what a layout asks for; without a layout, every service as it stands.

    `needs` says what models need in VRAM, by engine and model; one that is missing is unknown.
    """
    machines = machines_of(cluster)
    asks = asks_of(cluster, layout, needs, machines)
    found = search(machines, asks)
    room = found.room
    if found.exact:
        tidy(room, asks)
    reach = Reach(room)
    return Plan(
        layout=layout.name if layout else None,
        placed=tuple(_placed(reach, asks)),
        unplaced=tuple(_unplaced(reach, asks)),
        cautions=cautions_of(cluster, layout, asks, reach),
        totals=tuple(_total(room, card) for card in room.cards.values()),
        proofs=found.proofs,
        gap=found.gap,
        exact=found.exact,
        preference=preference_of(room, asks),
    )


def _placed(reach: Reach, asks: Sequence[Ask]) -> list[Placed]:
    return [
        _placed_one(reach, ask, replica)
        for ask in asks
        for replica in range(ask.replicas)
        if (ask.place, replica) in reach.room.seats
    ]


def _placed_one(reach: Reach, ask: Ask, replica: int) -> Placed:
    node, indexes = seat = reach.room.seats[ask.place, replica]
    return Placed(
        ask=ask.name,
        services=ask.services,
        replica=replica,
        tier=ask.tier(replica),
        node=node,
        gpus=indexes,
        memory=ask.vram.figure if ask.vram else None,
        whole=ask.whole,
        why=why_here(reach, ask, seat),
    )


def _unplaced(reach: Reach, asks: Sequence[Ask]) -> list[Unplaced]:
    found: list[Unplaced] = []
    for ask in asks:
        refusals = Refusals(reach.room, ask)
        missing = [replica for replica in range(ask.replicas) if (ask.place, replica) not in reach.room.seats]
        cards, holders = reach.turns(ask) if missing else ((), ())
        found += [
            Unplaced(
                ask=ask.name,
                services=ask.services,
                replica=replica,
                tier=ask.tier(replica),
                refusals=refusals,
                turns=cards,
                turns_with=holders,
            )
            for replica in missing
        ]
    return found


def _total(room: Room, card: Card) -> CardTotal:
    tenants = room.tenants.get((card.node, card.index), [])
    unknown = any(ask.vram is None or ask.vram.figure is None for ask, _ in tenants)
    return CardTotal(
        card=card,
        planned=None if unknown else sum(ask.needed for ask, _ in tenants),
        tenants=tuple(unit_name((ask, replica)) for ask, replica in tenants),
        whole=any(ask.whole for ask, _ in tenants),
        open_ended=any(ask.vram is not None and ask.vram.is_open for ask, _ in tenants),
    )
