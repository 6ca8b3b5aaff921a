"""How much VRAM a replica has to find on each of its GPUs.

Declared memory (`gpuMemory`) is what it needs on each GPU. Else its models decide: all of them together where a GPU can
hold them; where none can, an engine that loads models as they are asked for needs room for one, the largest that fits.
A service of unknown need gets the GPU alone, and how full that is stays unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corral.cluster.values import Service
from corral.engine_kinds import SERVICE_ENGINES
from corral.figures import Figure, Origin, computed
from corral.hardware.needs import Needs
from corral.units import format_bytes

SWAPPING = frozenset(engine.name for engine in SERVICE_ENGINES.values() if engine.swaps_models)
"""Engines that give one model up for another; the others hold all of theirs at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNeed:
    """A model of a service, and what it takes on each GPU; None is unknown."""

    service: str
    model: str
    bytes: int | None
    within: int | None
    """Bytes that its service declares for itself; None: it has what its GPU has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vram:
    """The need of a replica on each of its GPUs."""

    needed: int
    """Bytes that must be there; 0 when nothing is known."""
    figure: Figure | None
    """The same with its origin; None when nothing is known."""
    is_open: bool
    """Whether it takes more than `needed` when there is more, or its need is unknown: then it has its GPU alone."""
    declared: int
    """Bytes that services of it declare; what is left of a GPU is for the models of the others."""
    models: tuple[ModelNeed, ...]
    swaps: bool
    """Whether its models are not planned to be in memory together."""
    least: int
    """Bytes without which it cannot run at all where GPU and processor share one memory: `needed`, or the smallest of
    its models where no GPU holds one, and the processor of another machine would compute the rest."""


def work_out_vram(members: Sequence[Service], needs: Needs, *, gpus: int, largest: int | None) -> Vram:
    """Work out the need of services that share a place; `largest` is the usable memory of the best GPU it can use."""
    declared = {member.name: int(member.gpu_memory) for member in members if member.gpu_memory is not None}
    models = tuple(need for member in members for need in _list_models(member, needs, gpus))
    counted = [model for model in models if model.service not in declared and model.bytes is not None]
    base = sum(declared.values())
    silent = any(member.name not in declared and not _is_known(member, models) for member in members)
    chosen = _choose_resident(counted, base, largest, swaps=_can_all_swap(members, declared))
    needed = base + sum(model.bytes or 0 for model in chosen)
    return Vram(
        needed=needed,
        figure=_make_figure(members, chosen) if needed else None,
        is_open=silent or len(chosen) < len(counted),
        declared=base,
        models=models,
        swaps=len(chosen) < len(counted),
        least=needed if silent or chosen or not counted else base + min(model.bytes or 0 for model in counted),
    )


def _list_models(service: Service, needs: Needs, gpus: int) -> list[ModelNeed]:
    models = [
        (model, next((needs[engine, model] for engine in service.engines if (engine, model) in needs), None))
        for model in service.models
    ]
    return [
        ModelNeed(
            service=service.name,
            model=model,
            bytes=None if need is None else need.divide(gpus if need.splits else 1),
            within=service.gpu_memory,
        )
        for model, need in models
    ]


def _is_known(service: Service, models: Sequence[ModelNeed]) -> bool:
    needs = [need for need in models if need.service == service.name]
    return bool(needs) and all(need.bytes is not None for need in needs)


def _can_all_swap(members: Sequence[Service], declared: Mapping[str, int]) -> bool:
    silent = [member for member in members if member.name not in declared and member.models]
    return all(SWAPPING.intersection(member.engines) for member in silent)


def _choose_resident(counted: list[ModelNeed], base: int, largest: int | None, *, swaps: bool) -> list[ModelNeed]:
    """Choose the models that must have room at once: all, else the largest that fits, else none."""
    ledger = None if largest is None else largest - base
    if not swaps or ledger is None or sum(model.bytes or 0 for model in counted) <= ledger:
        return counted
    fitting = [model for model in counted if model.bytes is not None and model.bytes <= ledger]
    return [max(fitting, key=lambda need: need.bytes or 0)] if fitting else []


def _make_figure(members: Sequence[Service], chosen: Sequence[ModelNeed]) -> Figure:
    terms = [(member.name, int(member.gpu_memory)) for member in members if member.gpu_memory is not None]
    if len(terms) == 1 and not chosen:
        name, size = terms[0]
        return Figure(value=size, unit="B", origin=Origin.CLUSTER_FILE, source=f"`gpuMemory` of the service {name}")
    terms += [(model.model, model.bytes or 0) for model in chosen]
    formula = " + ".join(f"{format_bytes(size)} ({name})" for name, size in terms)
    return computed(sum(size for _, size in terms), "B", formula)
