"""How many cards each queue may give out, so that all together give out each card once.

Queues with the same pool share a ClusterQueue. Where pools only overlap, each card is the quota of the queue with the
smaller pool, and the other borrows it within their cohort while it is free: no queue gives out a card outside its pool.
What services keep is no quota (pitfall H03); it is taken from the widest queue first, which can use most others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from corral.cluster.values import Cluster, Node, QueueSettings
from corral.rendering.kueue.flavors import flavor_names, flavor_of

Card = tuple[str, int]
"""A node and the index of a GPU there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Cards of one flavour: what a queue has of its own, and what it may borrow besides."""

    own: int
    borrowed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The queues of one ClusterQueue, and the cards that they may use."""

    queues: tuple[QueueSettings, ...]
    cards: frozenset[Card]
    overlaps: bool
    """Whether another one may use some of its cards as well."""
    quotas: Mapping[str, Quota] = field(default_factory=dict[str, Quota])
    """By flavour, those that it has cards of."""


def shares(cluster: Cluster, held: Mapping[str, int]) -> list[Share]:
    """Divide the cards of a cluster among its queues.

    Args:
        held: How many cards of each node the services keep.
    """
    pools: dict[frozenset[Card], list[QueueSettings]] = {}
    for queue in cluster.queues.values():
        cards = _pool(cluster, queue)
        if cards:
            pools.setdefault(cards, []).append(queue)
    own = _owned(cluster, list(pools), held)
    return [
        Share(
            queues=tuple(queues),
            cards=cards,
            overlaps=any(cards & other for other in pools if other != cards),
            quotas=_quotas(cluster, cards, own[cards]),
        )
        for cards, queues in pools.items()
    ]


def _quotas(cluster: Cluster, cards: frozenset[Card], own: Mapping[str, int]) -> dict[str, Quota]:
    usable = Counter(_flavor(cluster, card) for card in cards)
    return {
        flavor: Quota(own=own.get(flavor, 0), borrowed=usable[flavor] - own.get(flavor, 0))
        for flavor in flavor_names(cluster)
        if usable[flavor]
    }


def _owned(
    cluster: Cluster, pools: Sequence[frozenset[Card]], held: Mapping[str, int]
) -> dict[frozenset[Card], Counter[str]]:
    """How many cards of each flavour belong to each pool: to the smallest that has them, less those that are held."""
    left = _held(cluster, held)
    found: dict[frozenset[Card], Counter[str]] = {}
    given: set[Card] = set()
    for cards in sorted(pools, key=len):
        found[cards] = Counter(_flavor(cluster, card) for card in cards - given)
        given |= cards
    for cards in sorted(pools, key=len, reverse=True):
        for flavor, count in found[cards].items():
            taken = min(count, left[flavor])
            found[cards][flavor] -= taken
            left[flavor] -= taken
    return found


def _held(cluster: Cluster, held: Mapping[str, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for node in cluster.nodes:
        flavor = flavor_of(cluster, node)
        if flavor is not None:
            found[flavor] += held.get(node.name, 0)
    return found


def _flavor(cluster: Cluster, card: Card) -> str:
    return flavor_of(cluster, _node(cluster, card[0])) or ""


def _node(cluster: Cluster, name: str) -> Node:
    return next(node for node in cluster.nodes if node.name == name)


def _pool(cluster: Cluster, queue: QueueSettings) -> frozenset[Card]:
    cards = [(node.name, gpu.index) for node in cluster.nodes for gpu in node.gpus or ()]
    if queue.pool is None:
        return frozenset(cards)
    return frozenset(card for card in cards if card[0] in queue.pool or f"{card[0]}/gpu{card[1]}" in queue.pool)
