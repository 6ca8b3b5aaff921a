"""Plans the layouts of a cluster file: reads it, works out what its models need, and lets the planner decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from corral.cluster.values import Cluster, Layout
from corral.errors import CorralError, Kind, Problem, ProblemsError, did_you_mean
from corral.figures import Figure
from corral.hardware.catalogue import GpuModel
from corral.hardware.doubts import list_doubts
from corral.hardware.needs import needs_of
from corral.hardware.power import NodePower, Verdict, compute_power, find_models
from corral.operations.cluster_file import ClusterText, FileText, check_cluster
from corral.operations.placing import find_places, make_places
from corral.planning.placement.planner import plan_layout
from corral.planning.placement.values import Caution, GpuTotal, Placed, Plan, Preference, Refusal, Unplaced
from corral.rendering.installation import resolve_installations
from corral.rendering.places import Places
from corral.rendering.sharing import list_sharing_problems

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
class PlanAsked:
    """A cluster file whose layouts are planned."""

    cluster: FileText
    layout: str | None = None
    """The only layout to plan; null plans each of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A cluster file and the plans of its layouts."""

    file: ClusterText
    plans: tuple[Plan, ...]
    power: tuple[NodePower, ...]
    """Of the nodes that have GPUs, at full load: a plan says who works, not how hard."""


def plan_layouts(asked: PlanAsked) -> Planned:
    """Plan one layout of a cluster file, or each of them; a file without layouts has one plan, of its services.

    Raises: ClusterFileError, UnknownLayoutError.
    """
    file = check_cluster(asked.cluster)
    layouts = _choose_layouts(file, asked.layout)
    models = find_models(file.cluster.nodes)
    doubts = _collect_doubts(file.cluster, models)
    plans = [plan_layout(file.cluster, layout, needs_of(file.cluster, layout)) for layout in layouts]
    return Planned(
        file=file,
        plans=tuple(
            replace(plan, cautions=(*doubts, *_list_sharing_problems(file, layout, plans), *plan.cautions))
            for layout, plan in zip(layouts, plans, strict=True)
        ),
        power=_work_out_power(file.cluster, models),
    )


def _list_sharing_problems(file: ClusterText, layout: Layout | None, plans: Sequence[Plan]) -> Iterator[Caution]:
    """List the GPUs that a plan shares and Kubernetes cannot: what is planned is also what is rendered."""
    known = {plan.layout: make_places(plan) for plan in plans}
    if file.cluster.kubernetes is None or not any(places.has_shared for places in known.values()):
        return

    def find(cluster: Cluster, wanted: Layout | None) -> Places:
        name = wanted.name if wanted else None
        return known[name] if name in known else find_places(cluster, wanted)

    installations = resolve_installations(
        file.cluster, source=file.name, text=file.text, layouts=[layout.name] if layout else (), find_places=find
    )
    for what in list_sharing_problems(installations[0]):
        problem, _, hint = what.rpartition("; ")
        yield Caution(pitfall="A14", where=layout.name if layout else file.cluster.name, what=problem, hint=hint)


def _collect_doubts(cluster: Cluster, models: Mapping[str, GpuModel]) -> tuple[Caution, ...]:
    doubts = (doubt for node in cluster.nodes for doubt in list_doubts(node, models))
    return tuple(Caution(pitfall="", where=doubt.where, what=doubt.what, hint=doubt.hint) for doubt in doubts)


def _work_out_power(cluster: Cluster, models: Mapping[str, GpuModel]) -> tuple[NodePower, ...]:
    return tuple(
        compute_power(node, models, electricity=cluster.electricity, night=cluster.night)
        for node in cluster.nodes
        if node.gpus
    )


def _choose_layouts(file: ClusterText, name: str | None) -> Sequence[Layout | None]:
    layouts = file.cluster.layouts
    if name is None:
        return list(layouts.values()) or [None]
    if name not in layouts:
        raise UnknownLayoutError(f"there is no layout {name!r}", where=file.name, hint=did_you_mean(name, layouts))
    return [layouts[name]]


def require_places(planned: Planned) -> None:
    """Raises: NoPlacementError when something that was asked for has no place in one of the plans."""
    problems = [_make_problem(planned.file.name, plan, replica) for plan in planned.plans for replica in plan.missing]
    if problems:
        raise NoPlacementError(problems)


def _make_problem(file: str, plan: Plan, replica: Unplaced) -> Problem:
    reasons = group_refusals(replica.refusals)
    listed = "; ".join(f"{places}: {reason}" for reason, places in reasons[:_REASONS_SHOWN])
    more = f"; {len(reasons) - _REASONS_SHOWN} more reasons" if len(reasons) > _REASONS_SHOWN else ""
    layout = f" layouts.{plan.layout}" if plan.layout else ""
    why = f"{listed or 'the cluster has no node'}{more}"
    return Problem(
        code=NoPlacementError.code,
        what=f"nothing can run {replica.demand!r} (replica {replica.replica + 1}): {why}",
        where=f"{file}:{layout} services.{replica.services[0]}",
        hint="lower what it needs, change its node or layout, or add a GPU",
    )


def group_refusals(refusals: Sequence[Refusal]) -> list[tuple[str, str]]:
    """Put places with the same reason together: `(reason, "hydra-ai/gpu0, hydra-ai/gpu1")`."""
    places: dict[str, list[str]] = {}
    for refusal in refusals:
        places.setdefault(refusal.reason, []).append(refusal.gpu_or_node)
    return [(reason, ", ".join(there)) for reason, there in places.items()]


# --- the answer ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPlan:
    """The memory planned on a GPU."""

    node: str
    index: int
    model: str | None
    memory: int | None
    """Its whole VRAM in bytes; null is unknown."""
    usable: int | None
    """Bytes that services can plan with: what the driver keeps is taken off."""
    planned: int | None
    """Bytes; null when the need of a service on it is unknown."""
    tenants: tuple[str, ...]
    """Services and pods with their replica, counted from 1: `comfyui #1`."""
    whole: bool
    """Whether one tenant has it alone."""
    open_ended: bool
    """Whether a tenant takes more than is planned when there is more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedReplica:
    """A replica with its place."""

    name: str
    """The service, or the pod that several services share."""
    services: tuple[str, ...]
    replica: int
    """From 0."""
    tier: str
    node: str | None
    """Null: any node."""
    gpus: tuple[int, ...]
    """Indexes on the node."""
    memory: Figure | None
    """VRAM planned on each of its GPUs; null when it is unknown, and it has the whole GPU."""
    whole: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedPlace:
    """A GPU or a node where a replica is not, and why."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnplacedReplica:
    """A replica without a place."""

    name: str
    services: tuple[str, ...]
    replica: int
    tier: str
    takes_turns: bool
    """Whether it can share GPUs over time, through the queue."""
    turns: tuple[str, ...]
    """GPUs on which it would run if it had them for itself."""
    turns_with: tuple[str, ...]
    """What holds those."""
    refusals: tuple[RefusedPlace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierProof:
    """How many replicas of a tier are placed, and how many any plan could place."""

    tier: str
    asked: int
    placed: int
    at_most: int | None
    gap: float
    """Part of the bound that is missing, from 0 (proven best) to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutPlan:
    """The placement of one layout: what runs where."""

    layout: str | None
    """Null: the services of a file without layouts."""
    gpus: tuple[GpuPlan, ...]
    placed: tuple[PlacedReplica, ...]
    unplaced: tuple[UnplacedReplica, ...]
    warnings: tuple[Caution, ...]
    proofs: tuple[TierProof, ...]
    gap: float
    """Part by which another plan could place more, at most; 0 is proven best."""
    exact: bool
    """Whether it was searched GPU by GPU; if not, the tiers are weighed 100 : 10 : 1."""
    preference: Preference


@dataclass(frozen=True, slots=True, kw_only=True)
class FullLoad:
    """The power of a node with GPUs at full load; `power` has all of it."""

    node: str
    gpus: Figure
    gpus_limited: Figure | None
    """With the power limits of the cluster file; null when it sets none."""
    system: Figure
    psu: Figure | None
    verdict: Verdict
    unknown: tuple[str, ...]
    """GPUs whose power could not be counted; with any, sums are lower bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAnswer:
    """The plans of a cluster file's layouts; sizes are bytes."""

    cluster: str
    plans: tuple[LayoutPlan, ...]
    power: tuple[FullLoad, ...]


def answer_plan(planned: Planned) -> PlanAnswer:
    """Return the plans as doors show them to programs."""
    return PlanAnswer(
        cluster=planned.file.cluster.name,
        plans=tuple(_answer_layout(plan) for plan in planned.plans),
        power=tuple(_answer_power(power) for power in planned.power),
    )


def _answer_layout(plan: Plan) -> LayoutPlan:
    return LayoutPlan(
        layout=plan.layout,
        gpus=tuple(_answer_gpu(total) for total in plan.totals),
        placed=tuple(_answer_placed(replica) for replica in plan.placed),
        unplaced=tuple(_answer_unplaced(replica) for replica in plan.unplaced),
        warnings=plan.cautions,
        proofs=tuple(
            TierProof(
                tier=proof.tier.label, asked=proof.asked, placed=proof.placed, at_most=proof.at_most, gap=proof.gap
            )
            for proof in plan.proofs
            if proof.asked
        ),
        gap=plan.gap,
        exact=plan.exact,
        preference=plan.preference,
    )


def _answer_gpu(total: GpuTotal) -> GpuPlan:
    return GpuPlan(
        node=total.gpu.node,
        index=total.gpu.index,
        model=total.gpu.model,
        memory=total.gpu.memory,
        usable=total.gpu.usable,
        planned=total.planned,
        tenants=total.tenants,
        whole=total.whole,
        open_ended=total.open_ended,
    )


def _answer_placed(replica: Placed) -> PlacedReplica:
    return PlacedReplica(
        name=replica.demand,
        services=replica.services,
        replica=replica.replica,
        tier=replica.tier.label,
        node=replica.node,
        gpus=replica.gpus,
        memory=replica.memory,
        whole=replica.whole,
        why=replica.why,
    )


def _answer_unplaced(replica: Unplaced) -> UnplacedReplica:
    return UnplacedReplica(
        name=replica.demand,
        services=replica.services,
        replica=replica.replica,
        tier=replica.tier.label,
        takes_turns=replica.takes_turns,
        turns=replica.turns,
        turns_with=replica.turns_with,
        refusals=tuple(RefusedPlace(place=refusal.gpu_or_node, reason=refusal.reason) for refusal in replica.refusals),
    )


def _answer_power(power: NodePower) -> FullLoad:
    return FullLoad(
        node=power.node,
        gpus=power.full.gpus,
        gpus_limited=None if power.limited is None else power.limited.gpus,
        system=power.full.system,
        psu=power.psu,
        verdict=power.verdict,
        unknown=power.unknown,
    )
