"""The GPUs that each service could run on, before and after, and whether it survives the loss of one.

This looks at one replica by itself, on GPUs that are otherwise unused; which GPU each gets when all of them run is the
plan's to say (`corral.planning.placement`): the last part here compares the plans of each layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from corral.cluster.values import Cluster, Service, StorageKind
from corral.hardware.needs import needs_of
from corral.planning.placement.demand import Demand, list_demands
from corral.planning.placement.values import Caution, Placed, Plan, PlannedGpu, Unplaced, list_machines
from corral.planning.placement.vram import Vram
from corral.units import Bytes, format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The GPUs for one replica of a service."""

    nodes: tuple[str, ...]
    """Where it can run."""
    fits: tuple[str, ...]
    """GPUs that hold it, on nodes that have as many of them as a replica needs."""
    refused: tuple[tuple[str, str], ...]
    """GPU and reason."""
    pins: tuple[str, ...]
    """`pool: gpu0`: the layout, and the GPUs that it names."""
    is_known: bool = True
    """Whether its need is known; if not, whether a GPU holds it is unknown."""


class Freedom(StrEnum):
    """How much of a choice the upgrade leaves a service."""

    SAME = "as before"
    WIDER = "more GPUs"
    NARROWER = "fewer GPUs"
    GAINED = "can run now"
    LOST = "can no longer run"
    NEVER = "cannot run"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceChoice:
    """A service that needs GPUs; None where the service is not in the file."""

    service: str
    needs: Bytes | None
    """VRAM of one replica after the upgrade; None when the file leaves it open."""
    gpus: int
    before: Choice | None
    after: Choice | None

    @property
    def freedom(self) -> Freedom:
        """The change of its choice of GPUs, by their number."""
        old, new = len(self.before.fits) if self.before else 0, len(self.after.fits) if self.after else 0
        if old == new:
            return Freedom.SAME if new else Freedom.NEVER
        if not old or not new:
            return Freedom.GAINED if new else Freedom.LOST
        return Freedom.WIDER if new > old else Freedom.NARROWER


def compare_choices(before: Cluster, after: Cluster) -> tuple[ServiceChoice, ...]:
    """List the services that need GPUs, in the order of the file after the upgrade; those that go stand last."""
    names = [*after.services, *(name for name in before.services if name not in after.services)]
    compared = (_compare(name, before, after) for name in names)
    return tuple(comparison for comparison in compared if comparison is not None)


def needs_gpu(service: Service) -> bool:
    """Whether the file gives a service GPUs, or a part of one."""
    return bool(service.gpus) or service.gpu_memory is not None


def find_choice(service: Service, cluster: Cluster) -> Choice:
    """Find the GPUs that hold one replica of a service, by the needs that a plan goes by."""
    machines = list_machines(cluster)
    demand = next(
        (
            demand
            for demand in list_demands(cluster, None, needs_of(cluster), machines)
            if service.name in demand.services
        ),
        None,
    )
    vram = demand.vram if demand else None
    need, is_known = (0, False) if vram is None else _find_need(vram)
    nodes = tuple(machine for machine in machines if machine.name in _list_nodes(service, cluster) and machine.gpus)
    wanted = max(1, service.gpus or 1)
    fits: list[str] = []
    refused: list[tuple[str, str]] = []
    for machine in nodes:
        reasons = {gpu.index: _explain_refusal(demand, need, gpu) for gpu in machine.gpus}
        large = [gpu for gpu in machine.gpus if reasons[gpu.index] is None]
        refused += [(gpu.name, reason) for gpu in machine.gpus if (reason := reasons[gpu.index]) is not None]
        if len(large) < wanted:
            refused += [(gpu.name, f"the node has {len(large)} such GPUs, {wanted} are needed") for gpu in large]
        else:
            fits += [gpu.name for gpu in large]
    return Choice(
        nodes=tuple(machine.name for machine in nodes),
        fits=tuple(fits),
        refused=tuple(refused),
        pins=_list_pins(service, cluster),
        is_known=is_known,
    )


def _find_need(vram: Vram) -> tuple[int, bool]:
    """Find the bytes on each GPU that hold a replica, and whether they are known.

    What takes turns needs room for one of its models, of those that no GPU holds for the smallest.
    """
    sizes = [model.bytes for model in vram.models]
    known = [size for size in sizes if size is not None]
    if vram.figure is not None:
        return vram.needed, len(known) == len(sizes) or not vram.is_open
    return (min(known), True) if known and len(known) == len(sizes) else (0, False)


def _explain_refusal(demand: Demand | None, need: int, gpu: PlannedGpu) -> str | None:
    if demand is not None and (wrong := demand.explain_wrong_maker(gpu.maker)):
        return wrong
    if gpu.usable is None or gpu.usable >= need:
        return None
    return f"{format_bytes(need)} do not fit: {format_bytes(gpu.usable)} can be used"


def _compare(name: str, before: Cluster, after: Cluster) -> ServiceChoice | None:
    old, new = before.services.get(name), after.services.get(name)
    service = new or old
    if service is None or not any(needs_gpu(side) for side in (old, new) if side):
        return None
    return ServiceChoice(
        service=name,
        needs=service.gpu_memory,
        gpus=max(1, service.gpus or 1),
        before=find_choice(old, before) if old else None,
        after=find_choice(new, after) if new else None,
    )


def _list_nodes(service: Service, cluster: Cluster) -> frozenset[str]:
    if service.node is not None:
        return frozenset({service.node})
    volumes = (cluster.storage.get(name) for name in service.storage)
    local = frozenset(volume.node for volume in volumes if volume and volume.kind is StorageKind.LOCAL and volume.node)
    return local or frozenset(node.name for node in cluster.nodes)


def _list_pins(service: Service, cluster: Cluster) -> tuple[str, ...]:
    placements = ((layout.name, layout.services.get(service.name)) for layout in cluster.layouts.values())
    return tuple(
        f"{layout}: {', '.join(f'gpu{index}' for index in placement.gpus)}"
        for layout, placement in placements
        if placement is not None and placement.gpus
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """Whether a service can go on after the loss of any one GPU."""

    service: str
    before: bool | None
    """None when it could not run in the first place, was not there, or needs an unknown amount of memory."""
    after: bool | None
    is_unknown: bool
    """Whether its need is unknown, so that nothing can be said of either side."""
    gpus_before: int
    gpus_after: int
    one_node: str | None
    """The only node that has GPUs for it after the upgrade, if it is one: its loss ends the service."""


def compare_redundancy(choices: tuple[ServiceChoice, ...]) -> tuple[Survival, ...]:
    """Say for every service with GPUs whether it survives one GPU's loss."""
    return tuple(
        Survival(
            service=choice.service,
            before=_is_surviving(choice.before, choice.gpus),
            after=_is_surviving(choice.after, choice.gpus),
            is_unknown=not all(side.is_known for side in (choice.before, choice.after) if side),
            gpus_before=len(choice.before.fits) if choice.before else 0,
            gpus_after=len(choice.after.fits) if choice.after else 0,
            one_node=_find_only_node(choice.after),
        )
        for choice in choices
    )


def list_shared_dependencies(after: Cluster) -> tuple[str, ...]:
    """List what services with shared data depend on in addition to GPUs: network volumes and their servers."""
    return tuple(
        f"{volume.name} (exported by {volume.node or volume.server or 'a server that the file leaves open'})"
        for volume in after.storage.values()
        if volume.kind is StorageKind.NFS
    )


def _is_surviving(choice: Choice | None, gpus: int) -> bool | None:
    if choice is None or not choice.fits or not choice.is_known:
        return None
    left = _count_by_node(choice)
    if len(left) > 1:
        return True
    return max(left.values()) - 1 >= gpus


def _count_by_node(choice: Choice) -> dict[str, int]:
    counts: dict[str, int] = {}
    for gpu in choice.fits:
        node = gpu.rpartition("/")[0]
        counts[node] = counts.get(node, 0) + 1
    return counts


def _find_only_node(choice: Choice | None) -> str | None:
    nodes = _count_by_node(choice) if choice else {}
    return next(iter(nodes)) if len(nodes) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLocations:
    """One service that needs GPUs, in one layout; each text says where its replicas are, or why they are nowhere."""

    service: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One layout; None is the services as they stand."""

    layout: str | None
    locations: tuple[ServiceLocations, ...]
    lost: tuple[str, ...]
    """Services that had a place or a turn before, and have neither now."""
    gained: tuple[str, ...]
    """Services that had neither before, and have a place or a turn now."""
    moved: tuple[str, ...]
    """Services of both that have other GPUs now, or others to take turns on."""
    settled: tuple[Caution, ...]
    """Warnings of the plan before that are gone after."""
    arisen: tuple[Caution, ...]
    """Warnings of the plan after that were not there before."""


def compare_plans(before: tuple[Plan, ...], after: tuple[Plan, ...]) -> tuple[Distribution, ...]:
    """Set the plans of each layout side by side, in the order of the layouts after the upgrade."""
    old = {plan.layout: plan for plan in before}
    return tuple(_compare_plan(old.get(plan.layout), plan) for plan in after)


def _compare_plan(before: Plan | None, after: Plan) -> Distribution:
    old, new = _write_texts(before), _write_texts(after)
    names = [*new, *(name for name in old if name not in new)]
    return Distribution(
        layout=after.layout,
        locations=tuple(
            ServiceLocations(service=name, before=old.get(name, "-"), after=new.get(name, "-")) for name in names
        ),
        lost=_list_newly_missing(after, before),
        gained=_list_newly_missing(before, after),
        moved=_list_moved(before, after),
        settled=_list_only_in(before.cautions if before else (), after.cautions),
        arisen=_list_only_in(after.cautions, before.cautions if before else ()),
    )


def _list_newly_missing(here: Plan | None, there: Plan | None) -> tuple[str, ...]:
    """List the services without place and turn in one plan of which the other knows, and places all replicas."""
    missing = [name for replica in (here.missing if here else ()) for name in replica.services]
    elsewhere = {name for replica in (there.missing if there else ()) for name in replica.services}
    known = {name for replica in (*there.placed, *there.unplaced) for name in replica.services} if there else set[str]()
    return tuple(dict.fromkeys(name for name in missing if name in known - elsewhere))


def _list_moved(before: Plan | None, after: Plan) -> tuple[str, ...]:
    old, new = _map_gpus(before), _map_gpus(after)
    return tuple(name for name, gpus in new.items() if name in old and old[name] != gpus)


def _map_gpus(plan: Plan | None) -> dict[str, list[tuple[bool, tuple[str, ...]]]]:
    """Say for each replica of a service whether its GPUs are its own, and which they are."""
    if plan is None:
        return {}
    gpus: dict[str, list[tuple[bool, tuple[str, ...]]]] = {}
    for placed in plan.placed:
        for name in placed.services:
            own = tuple(f"{placed.node}/gpu{index}" for index in placed.gpus)
            gpus.setdefault(name, []).append((bool(own), own))
    for unplaced in plan.unplaced:
        for name in unplaced.services:
            gpus.setdefault(name, []).append((False, tuple(unplaced.turns)))
    return {name: sorted(replicas) for name, replicas in gpus.items()}


def _list_only_in(here: tuple[Caution, ...], there: tuple[Caution, ...]) -> tuple[Caution, ...]:
    known = {(caution.pitfall, caution.where) for caution in there}
    return tuple(caution for caution in here if (caution.pitfall, caution.where) not in known)


def _write_texts(plan: Plan | None) -> dict[str, str]:
    if plan is None:
        return {}
    texts: dict[str, list[str]] = {}
    for placed in plan.placed:
        if placed.gpus:
            texts.setdefault(placed.demand, []).append(_write_location(placed))
    for unplaced in plan.unplaced:
        if any(refusal.gpu is not None for refusal in unplaced.refusals):
            texts.setdefault(unplaced.demand, []).append(_write_refusal(unplaced))
    return {name: "; ".join(dict.fromkeys(parts)) for name, parts in texts.items()}


def _write_location(placed: Placed) -> str:
    return ", ".join(f"{placed.node}/gpu{index}" for index in placed.gpus)


def _write_refusal(unplaced: Unplaced) -> str:
    if unplaced.takes_turns:
        return f"takes turns on {', '.join(unplaced.turns)} with {', '.join(unplaced.turns_with)}"
    return "no place"
