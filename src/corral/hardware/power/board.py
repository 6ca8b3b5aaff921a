"""What a card needs besides watts: cables, slots, length. All of the reference board, as the catalogue has it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from corral.figures import Figure, Origin, computed
from corral.hardware.catalogue import GpuModel
from corral.hardware.power.values import CardPower, Connector

SLOT_PITCH_MM = 20.32
"""Distance from slot to slot, 0.8 inch (PCIe CEM, ATX)."""
BACK_PLATE_MM = 5
"""The catalogue's width is over all; so much of it is back plate, on the side that faces away from the next slot."""
_SLOTS = {"Single-slot": 1, "Dual-slot": 2, "Triple-slot": 3, "Quad-slot": 4}
_NO_PLUG_IN_CARD = frozenset({"IGP", "MXM Module", "SXM Module", "OAM Module"})
_CONNECTOR = re.compile(r"(?:(\d+)x\s*)?(.+)")


def connectors_of(model: GpuModel | None) -> tuple[Connector, ...] | None:
    """Read the connectors of a model: `1x 6-pin + 1x 8-pin`; empty when it needs none, None when nobody says."""
    if model is None or model.power_connectors is None:
        return None
    if model.power_connectors == "None":
        return ()
    found = [_CONNECTOR.fullmatch(part.strip()) for part in model.power_connectors.split("+")]
    return tuple(Connector(kind=one.group(2), count=int(one.group(1) or 1)) for one in found if one)


def slots_of(model: GpuModel | None) -> Figure | None:
    """Count the slots that a card covers: what the catalogue says, or more when its width does."""
    if model is None or model.slot_width is None or model.slot_width not in _SLOTS:
        return None
    stated = _SLOTS[model.slot_width]
    by_width = math.ceil((model.width_mm - BACK_PLATE_MM) / SLOT_PITCH_MM) if model.width_mm else stated
    if by_width <= stated:
        return Figure(
            value=stated, unit=_unit(stated), origin=Origin.CATALOGUE, source=f"{model.slot_width}: {model.source}"
        )
    formula = f"({model.width_mm:g} mm wide - {BACK_PLATE_MM} mm of back plate) / {SLOT_PITCH_MM} mm, rounded up"
    return computed(by_width, _unit(by_width), f"{formula}; the catalogue calls it {model.slot_width}")


def is_plug_in(model: GpuModel | None) -> bool:
    """Say whether it is a card for a slot, as far as known; modules and processors with graphics are not."""
    return model is None or model.slot_width not in _NO_PLUG_IN_CARD


def all_connectors(cards: Iterable[CardPower]) -> tuple[Connector, ...]:
    """Add up the connectors of all cards, as far as known."""
    counts: Counter[str] = Counter()
    for connector in (connector for card in cards for connector in card.connectors or ()):
        counts[connector.kind] += connector.count
    return tuple(Connector(kind=kind, count=count) for kind, count in counts.items())


def all_slots(cards: Iterable[CardPower]) -> Figure | None:
    """Add up the slots of all cards; None when there is no card, or when one of them is unknown."""
    known = [card.slots.value if card.slots else None for card in cards]
    slots = [each for each in known if each is not None]
    if not slots or len(slots) < len(known):
        return None
    return computed(sum(slots), _unit(sum(slots)), " + ".join(f"{each:g} {_unit(each)}" for each in slots))


def _unit(count: float) -> str:
    return "slot" if count == 1 else "slots"


def longest(cards: Iterable[CardPower]) -> Figure | None:
    """Find the longest of the cards, as far as known."""
    return max((card.length for card in cards if card.length), key=lambda length: length.value, default=None)
