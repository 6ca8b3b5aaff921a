"""How much somebody has to know about a node's cards to use them: counted, not judged."""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster
from corral.figures import Figure, computed
from corral.planning.upgrade.differences import Difference
from corral.planning.upgrade.hardware import Hardware, NodeComparison, Side

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
