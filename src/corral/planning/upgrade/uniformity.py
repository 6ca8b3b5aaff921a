"""Architectures, CUDA capabilities and driver flavours of a node before and after."""

from __future__ import annotations

from dataclasses import dataclass

from corral.planning.upgrade.cards import Card
from corral.planning.upgrade.hardware import Hardware, Side

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
