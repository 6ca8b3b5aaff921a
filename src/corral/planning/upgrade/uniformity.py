"""The generations of a node's GPUs before and after, and how much a user must know to choose between them."""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster
from corral.figures import Figure, computed
from corral.planning.upgrade.cards import Card
from corral.planning.upgrade.differences import Difference
from corral.planning.upgrade.hardware import Hardware, NodeComparison, Side

_OPEN_ONLY = "Blackwell"
_CLOSED_ONLY = frozenset({"Maxwell", "Maxwell 2.0", "Pascal", "Volta"})
_FIRST_OF_CONSUMER_BLACKWELL = (12, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One architecture among a node's cards."""

    architecture: str
    capability: str | None
    """`12.0`; None for a card that has none, or that is in no catalogue."""
    cards: tuple[str, ...]
    buses: tuple[str, ...]
    source: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniformity:
    """What software has to know about the cards of one node."""

    node: str
    before: tuple[Generation, ...]
    after: tuple[Generation, ...]
    asks: tuple[str, ...]
    """What the cards that are new there ask of drivers and libraries."""
    conflict: str | None
    """Why no driver serves all cards of the node after the upgrade; None when nothing is known to stand against it."""


def compare_uniformity(hardware: Hardware) -> tuple[Uniformity, ...]:
    """Compare the generations of cards on every node whose cards change and that still has some."""
    return tuple(
        Uniformity(
            node=node.name,
            before=_generations(node.before),
            after=_generations(node.after),
            asks=_asks(node.before, node.after),
            conflict=_conflict(node.after),
        )
        for node in hardware.changed
        if node.after is not None and node.after.cards
    )


def capability_of(card: Card) -> str | None:
    """Write a card's CUDA capability: `12.0`; None when it has none, or when it is in no catalogue."""
    if card.facts is None or card.facts.cuda_capability is None:
        return None
    major, minor = card.facts.cuda_capability
    return f"{major}.{minor}"


def _generations(side: Side | None) -> tuple[Generation, ...]:
    groups: dict[tuple[str, str | None], list[Card]] = {}
    for card in side.cards if side else ():
        architecture = (card.facts.architecture if card.facts else None) or "unknown"
        groups.setdefault((architecture, capability_of(card)), []).append(card)
    return tuple(
        Generation(
            architecture=architecture,
            capability=capability,
            cards=tuple(f"gpu{card.index} {card.title}" for card in cards),
            buses=tuple(dict.fromkeys(card.facts.bus for card in cards if card.facts and card.facts.bus)),
            source=next((card.facts.source for card in cards if card.facts), None),
        )
        for (architecture, capability), cards in groups.items()
    )


def _asks(before: Side | None, after: Side) -> tuple[str, ...]:
    had = {_capability(card) for card in before.cards} if before else set[tuple[int, int] | None]()
    new = {_capability(card) for card in after.cards} - had
    if _FIRST_OF_CONSUMER_BLACKWELL not in new:
        return ()
    return (
        "CUDA capability 12.0 is new on this node: libraries built before CUDA 12.8 (PyTorch before 2.7) have no "
        "kernels for it (pitfalls A29, pytorch#153928)",
        "Blackwell needs NVIDIA's open kernel modules and a driver of 570 or newer (pitfalls A30)",
    )


def _capability(card: Card) -> tuple[int, int] | None:
    return card.facts.cuda_capability if card.facts else None


def _conflict(side: Side | None) -> str | None:
    architectures = side.architectures if side else ()
    new = next((one for one in architectures if one.startswith(_OPEN_ONLY)), None)
    old = next((one for one in architectures if one in _CLOSED_ONLY), None)
    if new is None or old is None:
        return None
    return (
        f"{new} needs NVIDIA's open kernel modules, {old} needs the closed ones: one machine cannot run both "
        "(pitfalls A30)"
    )


_MODEL_LABELS = ("has-", "gpu-class")


@dataclass(frozen=True, slots=True, kw_only=True)
class Complexity:
    """What tells the cards of one node apart, before and after."""

    node: str
    rows: tuple[Difference, ...]
    before: str
    """In words: `complex (2 models)`."""
    after: str


def compare_complexity(before: Cluster, after: Cluster, hardware: Hardware) -> tuple[Complexity, ...]:
    """Count models, queues, pins and labels on every node whose cards change; `after` with the adaptations."""
    return tuple(_compare(before, after, node) for node in hardware.changed)


def _compare(before: Cluster, after: Cluster, node: NodeComparison) -> Complexity:
    return Complexity(
        node=node.name,
        rows=(
            _row("Models of GPU", _models(node.before), _models(node.after)),
            _row("Queues for a part of the node", _part_queues(before, node.before), _part_queues(after, node.after)),
            _row("Pins of a service to one card", _pins(before, node.name), _pins(after, node.name)),
            _row("Labels that name a model", _labels(before, node.name), _labels(after, node.name)),
        ),
        before=_words(node.before),
        after=_words(node.after),
    )


def _row(name: str, before: list[str], after: list[str]) -> Difference:
    return Difference(name=name, before=_count(before), after=_count(after))


def _count(items: list[str]) -> Figure:
    return computed(len(items), "", ", ".join(items) or "none")


def _models(side: Side | None) -> list[str]:
    return list(dict.fromkeys(card.title for card in side.cards)) if side else []


def _part_queues(cluster: Cluster, side: Side | None) -> list[str]:
    cards = {card.name for card in side.cards} if side else set[str]()
    return [queue.name for queue in cluster.queues.values() if queue.pool and set(queue.pool) < cards]


def _pins(cluster: Cluster, node: str) -> list[str]:
    count = next((len(one.gpus or ()) for one in cluster.nodes if one.name == node), 0)
    return [
        f"{name} (layout {layout.name})"
        for layout in cluster.layouts.values()
        for name, placement in layout.services.items()
        if placement.node == node and placement.gpus and len(placement.gpus) < count
    ]


def _labels(cluster: Cluster, node: str) -> list[str]:
    labels = (key for one in cluster.nodes if one.name == node for key in one.labels)
    return [key for key in labels if key.rpartition("/")[2].startswith(_MODEL_LABELS)]


def _words(side: Side | None) -> str:
    if side is None:
        return "not there"
    if not side.cards:
        return "no GPU" if side.cards_known else "GPUs to be found on the machine"
    if side.homogeneous is None:
        return "unknown (a card's model is not stated)"
    if len(side.cards) == 1:
        return "simple (one card)"
    if side.homogeneous:
        return f"simple ({len(side.cards)} identical cards)"
    return f"complex ({len(_models(side))} models)"
