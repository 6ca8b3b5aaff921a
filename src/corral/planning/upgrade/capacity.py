"""Which language models fit on a node's cards together, before and after, and how fast they can be at most.

Sizes stand for models of about so many parameters, at about 4.9 bits for each weight; what a particular file needs is
`corral fit`'s to say. A split gives each card whole layers, so it may need up to one layer more than is said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from corral.cluster.values import Cluster
from corral.figures import Figure, computed
from corral.hardware.fit.names import need_of
from corral.hardware.needs import Need
from corral.planning.placement.values import machines_of
from corral.planning.upgrade.cards import cards_of
from corral.planning.upgrade.differences import Difference, amount
from corral.planning.upgrade.hardware import Hardware

SIZES = ("8b", "14b", "24b", "33b", "70b", "120b", "235b")
"""What models are published in, in billions of parameters; two of them stand between most pairs of cards."""
QUANTIZATION = "q4_K_M"
_ENGINE = "llama"


class Seating(StrEnum):
    """How a model fits on a node."""

    ONE = "on one GPU"
    SPLIT = "split over its GPUs"
    NO = "does not fit"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFit:
    """One size of model on one node."""

    model: str
    alone: Figure
    """Bytes on one card."""
    on_each: Figure | None
    """Bytes on each card of an even split over all cards of the node; None when it has one card after the upgrade."""
    before: Seating
    after: Seating
    bound: Figure | None
    """Tokens per second of one stream that memory bandwidth allows at most, after; None when it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the cards of one node hold together."""

    node: str
    room: Difference
    """Bytes for weights and KV cache of one model that is split over all cards."""
    fits: tuple[ModelFit, ...]

    @property
    def newly(self) -> tuple[ModelFit, ...]:
        """The sizes that fit after, and did not before."""
        return tuple(one for one in self.fits if one.before is Seating.NO and one.after is not Seating.NO)

    @property
    def no_longer(self) -> tuple[ModelFit, ...]:
        """The sizes that fitted before, and do not after."""
        return tuple(one for one in self.fits if one.before is not Seating.NO and one.after is Seating.NO)


@dataclass(frozen=True, slots=True)
class _Card:
    usable: int
    bandwidth: float | None
    """Bytes per second."""


def compare_capacity(before: Cluster, after: Cluster, hardware: Hardware) -> tuple[Capacity, ...]:
    """Compare what fits on every node whose cards change and whose cards' memory is known on both sides."""
    old, new = _cards(before), _cards(after)
    needs = [need for size in SIZES if (need := need_of(_ENGINE, f"{size}-{QUANTIZATION}"))]
    return tuple(
        Capacity(
            node=node.name,
            room=_room(old.get(node.name, ()), new[node.name], needs[0]),
            fits=tuple(_fit(need, old.get(node.name, ()), new[node.name]) for need in needs),
        )
        for node in hardware.changed
        if needs and new.get(node.name) and (node.before is None or node.name in old)
    )


def _cards(cluster: Cluster) -> dict[str, tuple[_Card, ...]]:
    """List the cards of each node; a node with a card of unknown memory is left out."""
    usable = {card.name: card.usable for machine in machines_of(cluster) for card in machine.cards}
    found: dict[str, tuple[_Card, ...]] = {}
    for node in cluster.nodes:
        cards = cards_of(node)
        sizes = [size for card in cards if (size := usable[card.name]) is not None]
        if len(sizes) == len(cards) and node.gpus is not None:
            bandwidths = [card.facts.bandwidth_gb_s if card.facts else None for card in cards]
            found[node.name] = tuple(
                _Card(size, None if speed is None else speed * 1e9)
                for size, speed in zip(sizes, bandwidths, strict=True)
            )
    return found


def _room(before: Sequence[_Card], after: Sequence[_Card], need: Need) -> Difference:
    return Difference(name="VRAM for one model over all cards", before=_share(before, need), after=_share(after, need))


def _share(cards: Sequence[_Card], need: Need) -> Figure:
    floor = round(need.floor.value)
    usable = [amount(card.usable, "B") for card in cards]
    formula = f"{' + '.join(usable) or '0'} - {len(cards)} x {amount(floor, 'B')} for context and buffers"
    return computed(_splittable(cards, floor), "B", formula)


def _splittable(cards: Sequence[_Card], floor: int) -> int:
    return sum(max(0, card.usable - floor) for card in cards)


def _fit(need: Need, before: Sequence[_Card], after: Sequence[_Card]) -> ModelFit:
    even = need.on(len(after)) if len(after) > 1 else None
    seating = _seating(need, after)
    alone = need.on(1)
    return ModelFit(
        model=need.model,
        alone=computed(alone, "B", f"{need.divisible.source}; {need.floor.source}"),
        on_each=None
        if even is None
        else computed(
            even,
            "B",
            f"{amount(need.divisible.value, 'B')} / {len(after)} + {amount(need.floor.value, 'B')}",
        ),
        before=_seating(need, before),
        after=seating,
        bound=None if seating is Seating.NO else _bound(need, after, seating),
    )


def _seating(need: Need, cards: Sequence[_Card]) -> Seating:
    if any(card.usable >= need.on(1) for card in cards):
        return Seating.ONE
    if len(cards) > 1 and _splittable(cards, round(need.floor.value)) >= need.divisible.value:
        return Seating.SPLIT
    return Seating.NO


def _bound(need: Need, cards: Sequence[_Card], seating: Seating) -> Figure | None:
    """Bound the speed: each token reads all weights once; the cards of a split take turns, each with its share."""
    if seating is Seating.ONE:
        speeds = [card.bandwidth for card in cards if card.usable >= need.on(1)]
        best = max((speed for speed in speeds if speed is not None), default=None)
        if best is None:
            return None
        return _tokens(best, need.divisible.value, f"{best / 1e9:g} GB/s")
    speeds = [card.bandwidth for card in cards if card.bandwidth is not None]
    if len(speeds) < len(cards):
        return None
    total = sum(card.usable for card in cards)
    mean = 1 / sum(card.usable / total / speed for card, speed in zip(cards, speeds, strict=True))
    return _tokens(mean, need.divisible.value, f"{mean / 1e9:g} GB/s, the cards one after the other")


def _tokens(bandwidth: float, size: float, told: str) -> Figure:
    return computed(bandwidth / size, "tokens/s", f"{told} / {amount(size, 'B')} that each token reads")
