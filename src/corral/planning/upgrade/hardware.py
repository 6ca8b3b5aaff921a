"""What changes in the machines: nodes and cards side by side, and the totals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from corral.cluster.values import Cluster, Node
from corral.figures import Figure, computed
from corral.hardware.pools import UNKNOWN_CLASS, GpuPool, pool_of
from corral.planning.changes import GpuAddress
from corral.planning.upgrade.cards import Card, all_cards, cards_of
from corral.planning.upgrade.differences import ABSENT, UNKNOWN, Difference, amount


class CardChangeKind(StrEnum):
    """What happens to a card's place."""

    REPLACED = "replaced"
    ADDED = "added"
    REMOVED = "removed"
    MOVED = "moved"
    """It goes to another node."""
    RENUMBERED = "renumbered"
    """It stays in its node and gets another index."""
    LIMITED = "limited"
    """The card stays, and its power limit changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardChange:
    """One place whose card, or whose card's power limit, changes."""

    kind: CardChangeKind
    place: str
    """Where the card is afterwards; where it was when it is gone."""
    before: Card | None
    after: Card | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A node before or after the upgrade."""

    cards: tuple[Card, ...]
    cards_known: bool
    """False when the file leaves the cards to be found on the machine."""
    pool: GpuPool | None
    """None when it has no card, or when its cards are still to be found."""
    architectures: tuple[str, ...]
    """In order of first appearance; `unknown` for a card that is in no catalogue."""

    @property
    def homogeneous(self) -> bool | None:
        """Whether its cards are one model; None when it has none, or when one is unknown."""
        if self.pool is None or UNKNOWN_CLASS in self.pool.classes:
            return None
        return self.pool.homogeneous


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeComparison:
    """A node before and after; None when it is not there."""

    name: str
    before: Side | None
    after: Side | None
    memory: Difference
    """VRAM of all its cards, in bytes."""
    tgp: Difference
    """The makers' power limits of all its cards, in watts."""
    cards_change: bool
    """Whether a card, or a card's power limit, is another one."""

    @property
    def becomes_homogeneous(self) -> bool:
        """Whether a node of several models becomes one of a single model."""
        return _mixed(self.before) and self.after is not None and self.after.homogeneous is True

    @property
    def becomes_mixed(self) -> bool:
        """Whether a node of a single model becomes one of several."""
        return self.before is not None and self.before.homogeneous is True and _mixed(self.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machines of a cluster before and after."""

    nodes: tuple[NodeComparison, ...]
    """In the order of the file; nodes that go stand last."""
    changes: tuple[CardChange, ...]
    memory: Difference
    cards: Difference

    @property
    def changed(self) -> tuple[NodeComparison, ...]:
        """The nodes whose cards change, come or go."""
        return tuple(node for node in self.nodes if node.cards_change)


Places = Mapping[GpuAddress, GpuAddress | None]
"""For every place of a card before: the place of that card, or of the one that replaced it; None when it is gone."""


def compare_hardware(before: Cluster, after: Cluster, places: Places | None = None) -> Hardware:
    """Set the machines side by side, node by node and card by card.

    Without `places` a card is taken to be the one with its index afterwards.
    """
    changes = _changes(before, after, _same_places(before, after) if places is None else places)
    touched = {card.node for change in changes for card in (change.before, change.after) if card}
    old = {node.name: node for node in before.nodes}
    new = {node.name: node for node in after.nodes}
    names = [*new, *(name for name in old if name not in new)]
    nodes = tuple(_node(name, old.get(name), new.get(name), is_touched=name in touched) for name in names)
    return Hardware(
        nodes=nodes,
        changes=changes,
        memory=Difference(
            name="Total VRAM",
            before=_total([(node.name, node.memory.before) for node in nodes if node.before]),
            after=_total([(node.name, node.memory.after) for node in nodes if node.after]),
        ),
        cards=Difference(name="GPUs", before=_count(before), after=_count(after)),
    )


def _same_places(before: Cluster, after: Cluster) -> Places:
    there = {(card.node, card.index) for card in all_cards(after)}
    return {
        GpuAddress(node=card.node, index=card.index): (
            GpuAddress(node=card.node, index=card.index) if (card.node, card.index) in there else None
        )
        for card in all_cards(before)
    }


def _node(name: str, before: Node | None, after: Node | None, *, is_touched: bool) -> NodeComparison:
    old, new = _side(before), _side(after)
    return NodeComparison(
        name=name,
        before=old,
        after=new,
        memory=_compared("VRAM", _memory, old, new),
        tgp=_compared("GPU power", _tgp, old, new),
        cards_change=is_touched or (before is None) != (after is None),
    )


def _compared(
    name: str, quantity: Callable[[Side | None], Figure | None], old: Side | None, new: Side | None
) -> Difference:
    return Difference(
        name=name,
        before=quantity(old),
        after=quantity(new),
        no_before=UNKNOWN if old else ABSENT,
        no_after=UNKNOWN if new else ABSENT,
    )


def _side(node: Node | None) -> Side | None:
    if node is None:
        return None
    cards = cards_of(node)
    architectures = (card.facts.architecture if card.facts else None for card in cards)
    return Side(
        cards=cards,
        cards_known=node.gpus is not None,
        pool=pool_of(node),
        architectures=tuple(dict.fromkeys(one or "unknown" for one in architectures)),
    )


def _changes(before: Cluster, after: Cluster, places: Places) -> tuple[CardChange, ...]:
    """List what happens to each card, in the order of the file afterwards; those that are gone stand last."""
    new = {card.name: card for card in all_cards(after)}
    came_from: dict[str, Card] = {}
    gone: list[CardChange] = []
    for card in all_cards(before):
        place = places.get(GpuAddress(node=card.node, index=card.index))
        if place is None or str(place) not in new:
            gone.append(CardChange(kind=CardChangeKind.REMOVED, place=card.name, before=card, after=None))
        else:
            came_from[str(place)] = card
    stay = [
        CardChange(kind=kind, place=name, before=came_from.get(name), after=card)
        for name, card in new.items()
        if (kind := _kind(came_from.get(name), card))
    ]
    return (*stay, *gone)


def _kind(before: Card | None, after: Card) -> CardChangeKind | None:
    if before is None:
        return CardChangeKind.ADDED
    if (before.model, before.memory) != (after.model, after.memory):
        return CardChangeKind.REPLACED
    if before.node != after.node:
        return CardChangeKind.MOVED
    if before.index != after.index:
        return CardChangeKind.RENUMBERED
    return CardChangeKind.LIMITED if before.power_limit_w != after.power_limit_w else None


def _memory(side: Side | None) -> Figure | None:
    if side is None or not side.cards_known:
        return None
    terms = [card.memory for card in side.cards if card.memory is not None]
    if len(terms) < len(side.cards):
        return None
    return computed(sum(terms), "B", " + ".join(amount(term, "B") for term in terms) or "no GPU")


def _tgp(side: Side | None) -> Figure | None:
    if side is None or not side.cards_known:
        return None
    terms = [card.facts.tdp_w for card in side.cards if card.facts and card.facts.tdp_w is not None]
    if len(terms) < len(side.cards):
        return None
    return computed(sum(terms), "W", " + ".join(f"{term} W" for term in terms) or "no GPU")


def _total(parts: list[tuple[str, Figure | None]]) -> Figure | None:
    """Add up what nodes have; None as soon as one is unknown."""
    known = [(name, part) for name, part in parts if part is not None]
    if len(known) < len(parts):
        return None
    terms = " + ".join(f"{amount(part.value, part.unit)} ({name})" for name, part in known if part.value)
    return computed(sum(part.value for _, part in known), "B", terms or "no GPU")


def _count(cluster: Cluster) -> Figure | None:
    if any(node.gpus is None for node in cluster.nodes):
        return None
    return computed(sum(len(node.gpus or ()) for node in cluster.nodes), "", "GPUs that the file lists")


def _mixed(side: Side | None) -> bool:
    return side is not None and side.homogeneous is False
