"""Works out the power of one node from the catalogue and the cluster file alone."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta

from corral.cluster.values import Electricity, Gpu, Node
from corral.figures import Figure, Origin, computed
from corral.hardware.catalogue import GpuModel, resolve_gpu
from corral.hardware.power import draw, limits, supply
from corral.hardware.power.advice import advise
from corral.hardware.power.speeds import speed_losses
from corral.hardware.power.values import CardPower, Connector, Draw, Judgement, NodePower, Verdict, worst_of

ASSUMED_PROCESSOR_W = 125
"""A desktop processor at its base power, not at its turbo (for which Intel reckons with 26 A at 12 V): while GPUs work,
processors mostly wait. The owner of the machine in C04 put his at 135 W, and the rest at about 100 W.
"""
ASSUMED_REST_W = 96
"""Board, memory, disks, fans: 8 A at 12 V, what Intel calls the median of a desktop."""
ASSUMED_OTHER = Figure(
    value=ASSUMED_PROCESSOR_W + ASSUMED_REST_W,
    unit="W",
    origin=Origin.ASSUMED,
    source=f"nobody stated it: {ASSUMED_PROCESSOR_W} W for a desktop processor at its base power + 8 A x 12 V for the "
    "rest, the median of Intel's ATX12V design guide addendum (621484); a server or a busy processor takes more, a "
    "laptop less",
)


def models_of(nodes: Iterable[Node]) -> Mapping[str, GpuModel]:
    """Look up the models that nodes name, by the name that the file has; those that are unclear are left out."""
    models: dict[str, GpuModel] = {}
    for gpu in (gpu for node in nodes for gpu in node.gpus or ()):
        if gpu.model is None or gpu.model in models:
            continue
        model = resolve_gpu(gpu.model, memory=gpu.memory)
        if model is not None:
            models[gpu.model] = model
    return models


def power_of(
    node: Node,
    models: Mapping[str, GpuModel],
    *,
    electricity: Electricity | None,
    night: timedelta,
    ranges: Mapping[int, limits.LimitRange] | None = None,
) -> NodePower:
    """Work out what a node draws at full load, and what that means.

    `models` by the names that the cluster file has (`models_of`); `ranges` by the index of the GPU, where a driver was
    asked which limits its card takes.
    """
    cards = tuple(_card(gpu, models.get(gpu.model or "")) for gpu in node.gpus or ())
    other = _in_file(node.other_power_w, f"psu.otherWatts of node {node.name}") or ASSUMED_OTHER
    psu = _in_file(node.psu_w, f"psu.watts of node {node.name}")
    full = draw.draw_of(_watts(cards), other, psu, electricity=electricity, night=night)
    limited = _limited(cards, other, psu, electricity=electricity, night=night)
    catalogue_psu = _catalogue_psu(node.gpus or (), models)
    is_desktop = all(is_plug_in(models.get(gpu.model or "")) for gpu in node.gpus or ())
    recommended = supply.recommended(full, catalogue_psu) if is_desktop and (cards or node.other_power_w) else None
    unknown = _unknown(node, cards)
    on_supply = supply.judge(full, limited, psu, catalogue_psu)
    if unknown:
        on_supply = supply.as_lower_bounds(on_supply)
    judgements = (*on_supply, *_connectors(cards), *_checks(cards, ranges or {}))
    return NodePower(
        node=node.name,
        cards=cards,
        other=other,
        psu=psu,
        full=full,
        limited=limited,
        recommended_psu=recommended,
        catalogue_psu=catalogue_psu,
        connectors=all_connectors(cards),
        slots=all_slots(cards),
        longest=longest(cards),
        judgements=judgements,
        verdict=worst_of(judgements),
        unknown=unknown,
        advice=advise(
            cards,
            full=full,
            limited=limited,
            other=other,
            psu=psu,
            recommended=recommended,
            judgements=on_supply,
        ),
    )


def _card(gpu: Gpu, model: GpuModel | None) -> CardPower:
    limit = _in_file(gpu.power_limit_w, f"powerLimit of GPU {gpu.index}")
    tgp = _catalogued(model, model.tdp_w if model else None, "W")
    is_lowered = limit is not None and (tgp is None or limit.value < tgp.value)
    return CardPower(
        index=gpu.index,
        model=gpu.model,
        vendor=model.vendor if model else None,
        tgp=tgp,
        limit=limit,
        speed_losses=speed_losses(gpu.model, limit.value) if gpu.model and limit and is_lowered else (),
        connectors=connectors_of(model),
        slots=slots_of(model),
        length=_catalogued(model, model.length_mm if model else None, "mm"),
    )


def _watts(cards: Iterable[CardPower]) -> list[float]:
    """List the most that each card draws: as it was delivered, or more where its limit was raised.

    A card of unknown power draws what it is limited to; without a limit it cannot be counted.
    """
    return [
        max(figure.value for figure in (card.tgp, card.limit) if figure) for card in cards if card.tgp or card.limit
    ]


def _limited(
    cards: tuple[CardPower, ...],
    other: Figure,
    psu: Figure | None,
    *,
    electricity: Electricity | None,
    night: timedelta,
) -> Draw | None:
    if not any(card.limit for card in cards):
        return None
    watts = [figure.value for card in cards if (figure := card.limit or card.tgp)]
    return draw.draw_of(watts, other, psu, electricity=electricity, night=night)


def _checks(cards: tuple[CardPower, ...], ranges: Mapping[int, limits.LimitRange]) -> tuple[Judgement, ...]:
    checks = (limits.check(card, ranges.get(card.index)) for card in cards)
    return tuple(check for check in checks if check)


def _connectors(cards: tuple[CardPower, ...]) -> tuple[Judgement, ...]:
    wanted = all_connectors(cards)
    if not wanted:
        return ()
    listed = " and ".join(f"{connector.count} x {connector.kind}" for connector in wanted)
    return (
        Judgement(
            about="connectors",
            verdict=Verdict.UNKNOWN,
            what=f"the cards ask for {listed}; which cables the supply has is not known",
            reason="the catalogue, for the makers' reference boards; other boards of a model may differ",
        ),
    )


def _catalogued(model: GpuModel | None, value: float | None, unit: str) -> Figure | None:
    if model is None or not value:
        return None
    return Figure(value=value, unit=unit, origin=Origin.CATALOGUE, source=f"{model.name}: {model.source}")


def _in_file(value: float | None, source: str) -> Figure | None:
    return None if value is None else Figure(value=value, unit="W", origin=Origin.CLUSTER_FILE, source=source)


def _catalogue_psu(gpus: Iterable[Gpu], models: Mapping[str, GpuModel]) -> Figure | None:
    suggesting = [model for gpu in gpus if (model := models.get(gpu.model or "")) and model.suggested_psu_w]
    most = max(suggesting, key=lambda model: model.suggested_psu_w or 0, default=None)
    return _catalogued(most, most.suggested_psu_w if most else None, "W")


def _unknown(node: Node, cards: Iterable[CardPower]) -> tuple[str, ...]:
    if node.gpus is None:
        return ("the file leaves the GPUs to be found on the machine; none is counted",)
    return tuple(
        f"GPU {card.index} ({card.model or 'no model stated'}): nobody states its power; it is counted as "
        + (f"its limit, {card.limit.value:g} W" if card.limit else "nothing")
        for card in cards
        if card.tgp is None
    )


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
    matches = [_CONNECTOR.fullmatch(part.strip()) for part in model.power_connectors.split("+")]
    return tuple(Connector(kind=match.group(2), count=int(match.group(1) or 1)) for match in matches if match)


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
    slots = [count for count in known if count is not None]
    if not slots or len(slots) < len(known):
        return None
    return computed(sum(slots), _unit(sum(slots)), " + ".join(f"{count:g} {_unit(count)}" for count in slots))


def _unit(count: float) -> str:
    return "slot" if count == 1 else "slots"


def longest(cards: Iterable[CardPower]) -> Figure | None:
    """Find the longest of the cards, as far as known."""
    return max((card.length for card in cards if card.length), key=lambda length: length.value, default=None)
