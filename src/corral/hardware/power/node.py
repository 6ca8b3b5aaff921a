"""Works out the power of one node from the catalogue and the cluster file alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from corral.cluster.values import Electricity, Gpu, Node
from corral.errors import CorralError
from corral.figures import Figure, Origin
from corral.hardware.catalogue import GpuModel, find_gpu
from corral.hardware.power import draw, supply
from corral.hardware.power.values import CardPower, NodePower

ASSUMED_PROCESSOR_W = 125
"""A desktop processor at its base power, the class that Intel's guide uses for all but its smallest machine."""
ASSUMED_REST_W = 96
"""Board, memory, disks, fans: 8 A at 12 V, the middle of three examples in Intel's guide."""
ASSUMED_OTHER_SOURCE = (
    f"nobody stated it: {ASSUMED_PROCESSOR_W} W for a desktop processor at its base power and 8 A x 12 V for the rest, "
    "the middle example of Intel's ATX12V design guide addendum (621484)"
)


def models_of(nodes: Iterable[Node]) -> Mapping[str, GpuModel]:
    """Look up the models that nodes name, by the name that the file has; those that are unclear are left out."""
    found: dict[str, GpuModel] = {}
    for gpu in (gpu for node in nodes for gpu in node.gpus or ()):
        if gpu.model is None or gpu.model in found:
            continue
        try:
            model = find_gpu(gpu.model, memory=gpu.memory)
        except CorralError:  # a file that was read without the catalogue may name anything
            continue
        if isinstance(model, GpuModel):
            found[gpu.model] = model
    return found


def power_of(
    node: Node, models: Mapping[str, GpuModel], *, electricity: Electricity | None, night: timedelta
) -> NodePower:
    """Work out what a node draws at full load, and what that means.

    `models` by the names that the cluster file has (`models_of`).
    """
    gpus = node.gpus or ()
    cards = tuple(_card(gpu, models.get(gpu.model or "")) for gpu in gpus)
    other = _other(node)
    psu = _psu(node)
    full = draw.draw_of([(card, card.tgp) for card in cards], other, psu, electricity=electricity, night=night)
    limited = None
    if any(card.limit for card in cards):
        limits = [(card, card.limit or card.tgp) for card in cards]
        limited = draw.draw_of(limits, other, psu, electricity=electricity, night=night)
    catalogue_psu = _catalogue_psu(gpus, models)
    return NodePower(
        node=node.name,
        cards=cards,
        other=other,
        psu=psu,
        full=full,
        limited=limited,
        recommended_psu=supply.recommended(full, catalogue_psu),
        catalogue_psu=catalogue_psu,
        judgements=supply.judge(full, limited, psu),
        unknown=_unknown(node, cards),
    )


def _card(gpu: Gpu, model: GpuModel | None) -> CardPower:
    return CardPower(
        index=gpu.index,
        model=gpu.model,
        tgp=_catalogued(model, model.tdp_w if model else None, "W"),
        limit=_in_file(gpu.power_limit_w, f"powerLimit of GPU {gpu.index}"),
        connectors=model.power_connectors if model else None,
        slots=None,
        length_mm=_catalogued(model, model.length_mm if model else None, "mm"),
    )


def _catalogued(model: GpuModel | None, value: float | None, unit: str) -> Figure | None:
    if model is None or value is None:
        return None
    return Figure(value=value, unit=unit, origin=Origin.CATALOGUE, source=f"{model.name}: {model.source}")


def _in_file(value: float | None, source: str) -> Figure | None:
    return None if value is None else Figure(value=value, unit="W", origin=Origin.CLUSTER_FILE, source=source)


def _psu(node: Node) -> Figure | None:
    return _in_file(node.psu_w, f"psu.watts of node {node.name}")


def _other(node: Node) -> Figure:
    stated = _in_file(node.other_power_w, f"psu.otherWatts of node {node.name}")
    if stated:
        return stated
    assumed = ASSUMED_PROCESSOR_W + ASSUMED_REST_W
    return Figure(value=assumed, unit="W", origin=Origin.ASSUMED, source=ASSUMED_OTHER_SOURCE)


def _catalogue_psu(gpus: Iterable[Gpu], models: Mapping[str, GpuModel]) -> Figure | None:
    suggesting = [model for gpu in gpus if (model := models.get(gpu.model or "")) and model.suggested_psu_w]
    if not suggesting:
        return None
    most = max(suggesting, key=lambda model: model.suggested_psu_w or 0)
    return _catalogued(most, most.suggested_psu_w, "W")


def _unknown(node: Node, cards: Iterable[CardPower]) -> tuple[str, ...]:
    if node.gpus is None:
        return ("the file leaves the GPUs to be found on the machine; none is counted",)
    return tuple(
        f"GPU {card.index} ({card.model or 'no model stated'}): nobody states its power; it is not counted"
        for card in cards
        if card.tgp is None and card.limit is None
    )
