"""Works out the power of one node from the catalogue and the cluster file alone."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import Enum

from corral.cluster.prices import Electricity
from corral.cluster.values import Gpu, Node
from corral.figures import Figure, Origin, computed
from corral.hardware.catalogue import GpuModel, resolve_gpu
from corral.hardware.power import limits, supply, wiring
from corral.hardware.power.advice import advise
from corral.hardware.power.limits import list_speed_losses
from corral.hardware.power.values import (
    Connector,
    Draw,
    GpuPower,
    HourlyLimit,
    Judgement,
    NodePower,
    Verdict,
    find_worst,
)

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
    source=f"not stated: {ASSUMED_PROCESSOR_W} W for a desktop processor at its base power + 8 A x 12 V for the "
    "rest, the median of Intel's ATX12V design guide addendum (621484); a server or a busy processor takes more, a "
    "laptop less",
)


class _Kind(Enum):
    """The kind of a machine, by which the rest of its draw is assumed."""

    DESKTOP = "desktop"
    MODULE = "module"
    """Its processor is one chip with the GPU: a Jetson, a Mac, a DGX Spark, a processor with graphics."""
    WITHOUT_GPU = "without a GPU"


_NOTHING_OF_MODULE = Figure(
    value=0,
    unit="W",
    origin=Origin.ASSUMED,
    source="not stated: the GPU's power is that of the chip with its processor, or of the module; disks and fans are "
    "not counted",
)
_NOTHING_WITHOUT_GPU = Figure(
    value=0, unit="W", origin=Origin.ASSUMED, source="not stated, and nothing in the file says what the machine is"
)
_ASSUMED = {
    _Kind.DESKTOP: ASSUMED_OTHER,
    _Kind.MODULE: _NOTHING_OF_MODULE,
    _Kind.WITHOUT_GPU: _NOTHING_WITHOUT_GPU,
}
_UNCOUNTED = {
    _Kind.DESKTOP: None,
    _Kind.MODULE: "the draw of its disks and fans (`psu.otherWatts`); they are not counted",
    _Kind.WITHOUT_GPU: "its power draw (`psu.otherWatts`); nothing is counted",
}


def _find_kind(node: Node, models: Mapping[str, GpuModel]) -> _Kind:
    if not node.gpus:
        return _Kind.DESKTOP if node.gpus is None else _Kind.WITHOUT_GPU
    known = [models.get(gpu.model or "") for gpu in node.gpus]
    is_module = all(model is not None and model.is_unified for model in known)
    return _Kind.MODULE if is_module else _Kind.DESKTOP


def find_models(nodes: Iterable[Node]) -> Mapping[str, GpuModel]:
    """Look up the models that nodes name, by the name that the file has; those that are unclear are left out."""
    models: dict[str, GpuModel] = {}
    for gpu in (gpu for node in nodes for gpu in node.gpus or ()):
        if gpu.model is None or gpu.model in models:
            continue
        model = resolve_gpu(gpu.model, memory=gpu.memory)
        if model is not None:
            models[gpu.model] = model
    return models


def compute_power(
    node: Node,
    models: Mapping[str, GpuModel],
    *,
    electricity: Electricity | None,
    night: timedelta,
    ranges: Mapping[int, limits.LimitRange] | None = None,
) -> NodePower:
    """Compute the power of a node at full load, and judge it.

    `models` by the names that the cluster file has (`find_models`); `ranges` by the index of the GPU, where a driver
    was asked which limits its GPU takes.
    """
    gpus = tuple(_make_gpu(gpu, models.get(gpu.model or "")) for gpu in node.gpus or ())
    kind = _find_kind(node, models)
    other = _read_file(node.other_power_w, f"psu.otherWatts of node {node.name}") or _ASSUMED[kind]
    psu = _read_file(node.psu_w, f"psu.watts of node {node.name}")
    watts = _list_watts(gpus)
    full = supply.compute_draw(watts, other, psu, node=node, unlimited=watts, electricity=electricity, night=night)
    limited = _compute_limited(node, gpus, other, psu, electricity=electricity, night=night)
    catalogue_psu = _suggest_psu(node.gpus or (), models)
    is_desktop = kind is not _Kind.MODULE and all(is_plug_in(models.get(gpu.model or "")) for gpu in node.gpus or ())
    recommended = supply.recommend(full, catalogue_psu) if is_desktop and (gpus or node.other_power_w) else None
    unknown = _list_unknown(node, gpus, kind)
    connectors = list_connectors(gpus)
    on_supply = supply.judge(full, limited, psu, catalogue_psu, node.psu_standard)
    if unknown:
        on_supply = supply.mark_lower_bounds(on_supply)
    wired = wiring.judge_wiring(node, gpus, full, limited, connectors) if is_desktop else ()
    judgements = (*on_supply, *wired, *_judge_connectors(gpus), *_check_limits(gpus, ranges or {}))
    return NodePower(
        node=node.name,
        gpus=gpus,
        other=other,
        psu=psu,
        full=full,
        limited=limited,
        recommended_psu=recommended,
        catalogue_psu=catalogue_psu,
        connectors=connectors,
        slots=sum_slots(gpus),
        longest=find_longest(gpus),
        judgements=judgements,
        verdict=find_worst(judgements),
        conditions=wiring.find_conditions(node, gpus) if is_desktop and psu is not None else (),
        unknown=unknown,
        advice=advise(
            gpus,
            full=full,
            limited=limited,
            other=other,
            psu=psu,
            recommended=recommended,
            judgements=(*on_supply, *wired),
            is_desktop=is_desktop,
        ),
    )


def _make_gpu(gpu: Gpu, model: GpuModel | None) -> GpuPower:
    limit = _read_file(gpu.power_limit_w, f"powerLimit of GPU {gpu.index}")
    tgp = _read_catalogue(model, model.tdp_w if model else None, "W")
    is_lowered = limit is not None and (tgp is None or limit.value < tgp.value)
    return GpuPower(
        index=gpu.index,
        model=gpu.model,
        vendor=model.vendor if model else None,
        boost_mhz=model.boost_mhz if model else None,
        is_module=model is not None and model.is_unified,
        tgp=tgp,
        limit=limit,
        hourly_limits=tuple(
            HourlyLimit(
                limit=_make_file_figure(window.watts, f"powerHours of GPU {gpu.index}"), hours=str(window.hours)
            )
            for window in gpu.power_windows
        ),
        speed_losses=list_speed_losses(gpu.model, limit.value) if gpu.model and limit and is_lowered else (),
        connectors=parse_connectors(model),
        slots=parse_slots(model),
        length=_read_catalogue(model, model.length_mm if model else None, "mm"),
    )


def _list_watts(gpus: Iterable[GpuPower]) -> list[float]:
    """List the most that each GPU draws: as it was delivered, or more where its limit was raised.

    A GPU of unknown power draws what it is limited to; without a limit it cannot be counted.
    """
    return [max(figure.value for figure in (gpu.tgp, gpu.limit) if figure) for gpu in gpus if gpu.tgp or gpu.limit]


def _compute_limited(
    node: Node,
    gpus: tuple[GpuPower, ...],
    other: Figure,
    psu: Figure | None,
    *,
    electricity: Electricity | None,
    night: timedelta,
) -> Draw | None:
    if not any(gpu.limit for gpu in gpus):
        return None
    watts = [figure.value for gpu in gpus if (figure := gpu.limit or gpu.tgp)]
    return supply.compute_draw(
        watts, other, psu, node=node, unlimited=_list_watts(gpus), electricity=electricity, night=night
    )


def _check_limits(gpus: tuple[GpuPower, ...], ranges: Mapping[int, limits.LimitRange]) -> tuple[Judgement, ...]:
    by_hours = (replace(gpu, limit=hourly.limit) for gpu in gpus for hourly in gpu.hourly_limits)
    checks = (limits.check(gpu, ranges.get(gpu.index)) for gpu in (*gpus, *by_hours))
    return tuple(check for check in checks if check)


def _judge_connectors(gpus: tuple[GpuPower, ...]) -> tuple[Judgement, ...]:
    wanted = list_connectors(gpus)
    if not wanted:
        return ()
    listed = " and ".join(f"{connector.count} x {connector.kind}" for connector in wanted)
    return (
        Judgement(
            about="connectors",
            verdict=Verdict.UNKNOWN,
            what=f"the GPUs ask for {listed}; which cables the supply has is not known",
            reason="the catalogue, for the makers' reference boards; other boards of a model can differ",
        ),
    )


def _read_catalogue(model: GpuModel | None, value: float | None, unit: str) -> Figure | None:
    if model is None or not value:
        return None
    return Figure(value=value, unit=unit, origin=Origin.CATALOGUE, source=f"{model.name}: {model.source}")


def _read_file(value: float | None, source: str) -> Figure | None:
    return None if value is None else _make_file_figure(value, source)


def _make_file_figure(watts: float, source: str) -> Figure:
    return Figure(value=watts, unit="W", origin=Origin.CLUSTER_FILE, source=source)


def _suggest_psu(gpus: Iterable[Gpu], models: Mapping[str, GpuModel]) -> Figure | None:
    suggesting = [model for gpu in gpus if (model := models.get(gpu.model or "")) and model.suggested_psu_w]
    most = max(suggesting, key=lambda model: model.suggested_psu_w or 0, default=None)
    return _read_catalogue(most, most.suggested_psu_w if most else None, "W")


def _list_unknown(node: Node, gpus: Iterable[GpuPower], kind: _Kind) -> tuple[str, ...]:
    if node.gpus is None:
        return ("the file leaves the GPUs to be found on the machine; none is counted",)
    uncounted = _UNCOUNTED[kind] if node.other_power_w is None else None
    return (() if uncounted is None else (uncounted,)) + tuple(
        f"GPU {gpu.index} ({gpu.model or 'no model stated'}): its power is unknown; it is counted as "
        + (f"its limit, {gpu.limit.value:g} W" if gpu.limit else "nothing")
        for gpu in gpus
        if gpu.tgp is None
    )


SLOT_PITCH_MM = 20.32
"""Distance from slot to slot, 0.8 inch (PCIe CEM, ATX)."""
BACK_PLATE_MM = 5
"""The catalogue's width is over all; so much of it is back plate, on the side that faces away from the next slot."""
_SLOTS = {"Single-slot": 1, "Dual-slot": 2, "Triple-slot": 3, "Quad-slot": 4}
_NO_PLUG_IN_GPU = frozenset({"IGP", "MXM Module", "SXM Module", "OAM Module"})
_CONNECTOR = re.compile(r"(?:(\d+)x\s*)?(.+)")


def parse_connectors(model: GpuModel | None) -> tuple[Connector, ...] | None:
    """Read the connectors of a model: `1x 6-pin + 1x 8-pin`; empty when it needs none, None when unknown."""
    if model is None or model.power_connectors is None:
        return None
    if model.power_connectors == "None":
        return ()
    matches = [_CONNECTOR.fullmatch(part.strip()) for part in model.power_connectors.split("+")]
    return tuple(Connector(kind=match.group(2), count=int(match.group(1) or 1)) for match in matches if match)


def parse_slots(model: GpuModel | None) -> Figure | None:
    """Count the slots that a GPU covers: what the catalogue says, or more when its width does."""
    if model is None or model.slot_width is None or model.slot_width not in _SLOTS:
        return None
    stated = _SLOTS[model.slot_width]
    by_width = math.ceil((model.width_mm - BACK_PLATE_MM) / SLOT_PITCH_MM) if model.width_mm else stated
    if by_width <= stated:
        return Figure(
            value=stated, unit=_name_unit(stated), origin=Origin.CATALOGUE, source=f"{model.slot_width}: {model.source}"
        )
    formula = f"({model.width_mm:g} mm wide - {BACK_PLATE_MM} mm of back plate) / {SLOT_PITCH_MM} mm, rounded up"
    return computed(by_width, _name_unit(by_width), f"{formula}; the catalogue calls it {model.slot_width}")


def is_plug_in(model: GpuModel | None) -> bool:
    """Say whether it is a GPU for a slot, as far as known; modules and processors with graphics are not."""
    return model is None or model.slot_width not in _NO_PLUG_IN_GPU


def list_connectors(gpus: Iterable[GpuPower]) -> tuple[Connector, ...]:
    """Add up the connectors of all GPUs, as far as known."""
    counts: Counter[str] = Counter()
    for connector in (connector for gpu in gpus for connector in gpu.connectors or ()):
        counts[connector.kind] += connector.count
    return tuple(Connector(kind=kind, count=count) for kind, count in counts.items())


def sum_slots(gpus: Iterable[GpuPower]) -> Figure | None:
    """Add up the slots of all GPUs; None when there is no GPU, or when one of them is unknown."""
    known = [gpu.slots.value if gpu.slots else None for gpu in gpus]
    slots = [count for count in known if count is not None]
    if not slots or len(slots) < len(known):
        return None
    return computed(sum(slots), _name_unit(sum(slots)), " + ".join(f"{count:g} {_name_unit(count)}" for count in slots))


def _name_unit(count: float) -> str:
    return "slot" if count == 1 else "slots"


def find_longest(gpus: Iterable[GpuPower]) -> Figure | None:
    """Find the longest of the GPUs, as far as known."""
    return max((gpu.length for gpu in gpus if gpu.length), key=lambda length: length.value, default=None)
