"""Plans the layouts of a cluster file: reads it, works out what its models need, and lets the planner decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import ClassVar

from corral.cluster.errors import did_you_mean
from corral.cluster.values import Cluster, Layout
from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.hardware.catalogue import GpuModel
from corral.hardware.declared import doubts_of
from corral.hardware.fit.names import need_of
from corral.hardware.needs import Need
from corral.hardware.power import NodePower, models_of, power_of
from corral.operations.cluster_file import ClusterText, open_cluster
from corral.planning.placement.planner import plan
from corral.planning.placement.values import Caution, Plan, Refusal, Unplaced
from corral.planning.placement.vram import Needs

_CONTEXT = "OLLAMA_CONTEXT_LENGTH"
_PARALLEL = "OLLAMA_NUM_PARALLEL"
"""Ollama's own settings (its FAQ), as a service's `env` may have them."""
_REASONS_SHOWN = 12
"""An error's line names so many different reasons; the plan has one for every GPU."""


class UnknownLayoutError(CorralError):
    """The cluster file has no layout of this name."""

    code: ClassVar[str] = "plan.unknown_layout"
    kind: ClassVar[Kind] = Kind.MISSING


class NoPlacementError(ProblemsError):
    """Something that was asked for has no place, and cannot take turns either; `problems` has each."""

    code: ClassVar[str] = "plan.no_placement"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A cluster file and the plans of its layouts."""

    file: ClusterText
    plans: tuple[Plan, ...]
    power: tuple[NodePower, ...]
    """Of the nodes that have GPUs, at full load: a plan says who works, not how hard."""


def plan_file(path: Path | None, *, layout: str | None = None) -> Planned:
    """Plan one layout of a cluster file, or each of them; a file without layouts has one plan, of its services.

    Raises: UnreadableClusterFileError, ClusterFileError, UnknownLayoutError.
    """
    file = open_cluster(path)
    layouts = _chosen(file, layout)
    models = models_of(file.cluster.nodes)
    doubts = _doubts(file.cluster, models)
    plans = (plan(file.cluster, one, needs_of(file.cluster, one)) for one in layouts)
    return Planned(
        file=file,
        plans=tuple(replace(one, cautions=(*doubts, *one.cautions)) for one in plans),
        power=_power(file.cluster, models),
    )


def _doubts(cluster: Cluster, models: Mapping[str, GpuModel]) -> tuple[Caution, ...]:
    found = (doubt for node in cluster.nodes for doubt in doubts_of(node, models))
    return tuple(Caution(pitfall="", where=doubt.where, what=doubt.what, hint=doubt.hint) for doubt in found)


def _power(cluster: Cluster, models: Mapping[str, GpuModel]) -> tuple[NodePower, ...]:
    return tuple(
        power_of(node, models, electricity=cluster.electricity, night=cluster.night)
        for node in cluster.nodes
        if node.gpus
    )


def needs_of(cluster: Cluster, layout: Layout | None = None) -> Needs:
    """Return what the models of a cluster's services need in VRAM, as far as it is known.

    A context size or a number of parallel requests that a service sets multiplies its KV cache (B07). Where two
    services run a model differently, the larger need counts for both.
    """
    found: dict[tuple[str, str], Need] = {}
    for service in cluster.services.values():
        env = {
            **service.env,
            **(layout.services[service.name].env if layout and service.name in layout.services else {}),
        }
        for engine, model in product(service.engines, service.models):
            need = need_of(engine, model, context=_context(cluster, engine, env), parallel=_number(env, _PARALLEL) or 1)
            known = found.get((engine, model))
            if need is not None and (known is None or known.on(1) < need.on(1)):
                found[engine, model] = need
    return found


def _context(cluster: Cluster, engine: str, env: Mapping[str, str]) -> int | None:
    settings = cluster.engines.get(engine)
    option = settings.options.get("contextSize") if settings else None
    return _number(env, _CONTEXT) or (option if isinstance(option, int) else None)


def _number(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name, "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _chosen(file: ClusterText, name: str | None) -> Sequence[Layout | None]:
    layouts = file.cluster.layouts
    if name is None:
        return list(layouts.values()) or [None]
    if name not in layouts:
        raise UnknownLayoutError(f"there is no layout {name!r}", where=file.name, hint=did_you_mean(name, layouts))
    return [layouts[name]]


def require_places(planned: Planned) -> None:
    """Raises: NoPlacementError when something that was asked for has no place in one of the plans."""
    problems = [_problem(planned.file.name, plan, one) for plan in planned.plans for one in plan.missing]
    if problems:
        raise NoPlacementError(problems)


def _problem(file: str, plan: Plan, one: Unplaced) -> Problem:
    reasons = grouped(one.refusals)
    told = "; ".join(f"{places}: {reason}" for reason, places in reasons[:_REASONS_SHOWN])
    more = f"; {len(reasons) - _REASONS_SHOWN} more reasons" if len(reasons) > _REASONS_SHOWN else ""
    layout = f" layouts.{plan.layout}" if plan.layout else ""
    return Problem(
        code=NoPlacementError.code,
        what=f"nothing can run {one.ask!r} (replica {one.replica + 1}): {told or 'the cluster has no node'}{more}",
        where=f"{file}:{layout} services.{one.services[0]}",
        hint="lower what it needs, change its node or layout, or add a GPU",
    )


def grouped(refusals: Sequence[Refusal]) -> list[tuple[str, str]]:
    """Put places with the same reason together: `(reason, "hydra-ai/gpu0, hydra-ai/gpu1")`."""
    places: dict[str, list[str]] = {}
    for refusal in refusals:
        places.setdefault(refusal.reason, []).append(refusal.place)
    return [(reason, ", ".join(there)) for reason, there in places.items()]
