"""Checks of changes against their cluster: what each GPU becomes, and which power limits it takes.

All problems are found at once: unknown nodes, GPUs and models, and changes that contradict each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from corral.cluster.gpu_facts import FindGpu, GpuFacts
from corral.cluster.values import Cluster, Node
from corral.errors import CorralError, Problem, did_you_mean
from corral.hardware.catalogue import GpuModel
from corral.hardware.doubts import doubt_limit
from corral.hardware.power.limits import LimitRange
from corral.planning.changes.values import (
    AddGpu,
    AddNode,
    Change,
    GpuAddress,
    LimitPower,
    MoveGpu,
    RemoveGpu,
    ReplaceGpu,
    SetMemory,
    SetPsu,
)
from corral.units import format_bytes

LimitRanges = Mapping[GpuAddress, LimitRange]
"""What limits each GPU takes, as its driver said; for GPUs that were asked."""


@dataclass(slots=True)
class Wanted:
    """The changes asked for, sorted by their subject; names of models are the catalogue's."""

    replaced: dict[GpuAddress, str] = field(default_factory=dict[GpuAddress, str])
    removed: dict[GpuAddress, str] = field(default_factory=dict[GpuAddress, str])
    """With where it was asked for."""
    moved: dict[GpuAddress, str] = field(default_factory=dict[GpuAddress, str])
    """With the node that it goes to."""
    where: dict[GpuAddress, str] = field(default_factory=dict[GpuAddress, str])
    added: dict[str, list[str]] = field(default_factory=lambda: defaultdict[str, list[str]](list))
    """Models by node."""
    nodes: dict[str, AddNode] = field(default_factory=dict[str, AddNode])
    limits: dict[tuple[str, int | None], LimitPower] = field(default_factory=dict[tuple[str, "int | None"], LimitPower])
    psus: dict[str, SetPsu] = field(default_factory=dict[str, SetPsu])
    memories: dict[str, SetMemory] = field(default_factory=dict[str, SetMemory])


class Checker:
    """Sorts changes, one after the other, and keeps every problem; one instance for one set of changes."""

    def __init__(
        self, cluster: Cluster, changes: Iterable[Change], find_gpu: FindGpu, limit_ranges: LimitRanges
    ) -> None:
        self.problems: list[Problem] = []
        self.wanted = Wanted()
        self._changes = tuple(changes)
        self._find_gpu = find_gpu
        self._limit_ranges = limit_ranges
        self._nodes: dict[str, Node] = {node.name: node for node in cluster.nodes}
        self._new = {change.name for change in self._changes if isinstance(change, AddNode)}
        self._asked: dict[object, str] = {}

    def check(self) -> Wanted:
        """Check every change."""
        for change in self._changes:
            self._check(change)
        for limit in self.wanted.limits.values():
            self._check_limit(limit)
        return self.wanted

    def _check(self, change: Change) -> None:
        wanted = self.wanted
        match change:
            case ReplaceGpu():
                model = self._find_model(change.model, change.where)
                if self._is_free(change.gpu, change.where, "replaced") and model is not None:
                    wanted.replaced[change.gpu] = model
            case RemoveGpu():
                if self._is_free(change.gpu, change.where, "removed"):
                    wanted.removed[change.gpu] = change.where
            case MoveGpu():
                self._move(change)
            case AddGpu():
                model = self._find_model(change.model, change.where)
                if self._has_known_gpus(change.node, change.where) and model is not None:
                    wanted.added[change.node].append(model)
            case AddNode():
                self._add_node(change)
            case LimitPower() | SetPsu() | SetMemory():
                self._set(change)

    def _set(self, change: LimitPower | SetPsu | SetMemory) -> None:
        node, where = change.node, change.where
        match change:
            case LimitPower(index=index):
                if self._is_once(("limit", node, index), where, "the power limit"):
                    self.wanted.limits[node, index] = change
            case SetPsu():
                if self._has_node(node, where) and self._is_once(("psu", node), where, "the power supply"):
                    self.wanted.psus[node] = change
            case SetMemory():
                if self._has_node(node, where) and self._is_once(("memory", node), where, "the memory"):
                    self.wanted.memories[node] = change

    def _move(self, change: MoveGpu) -> None:
        is_known = self._has_known_gpus(change.to, change.where)
        if change.to == change.gpu.node:
            what = f"{change.gpu} is in {change.to!r} already"
            self._report("changes.conflict", what, change.where, "name another node")
        elif self._is_free(change.gpu, change.where, "moved") and is_known:
            self.wanted.moved[change.gpu] = change.to

    def _add_node(self, change: AddNode) -> None:
        if change.name in self._nodes or change.name in self.wanted.nodes:
            what = f"there is a node {change.name!r} already"
            self._report("changes.duplicate_name", what, change.where, "give the new node another name")
        models = [self._find_model(model, change.where) for model in change.models]
        self.wanted.nodes.setdefault(change.name, change)
        self.wanted.added[change.name] += [model for model in models if model is not None]
        if change.psu_w is not None:
            self._asked["psu", change.name] = change.where
        if change.memory is not None:
            self._asked["memory", change.name] = change.where

    def _check_limit(self, limit: LimitPower) -> None:
        if not self._has_known_gpus(limit.node, limit.where):
            return
        for address, known in self._limit_ranges.items():
            self._check_range(limit, address, known)
        self._check_height(limit)
        if limit.index is None:
            return
        address = GpuAddress(node=limit.node, index=limit.index)
        if address in self.wanted.removed:
            what = f"{address} is removed, and gets a power limit"
            self._report("changes.conflict", what, limit.where, "drop one of the two")
        elif limit.index not in self._list_indexes(limit.node) | self._list_new_indexes(limit.node):
            self._report_no_such_gpu(address, limit.where)

    def _check_range(self, limit: LimitPower, address: GpuAddress, known: LimitRange) -> None:
        """Report a limit that a GPU refuses; a GPU that is replaced takes its own limits with it."""
        is_meant = address.node == limit.node and limit.index in (None, address.index)
        is_gone = address in self.wanted.replaced or address in self.wanted.removed
        if not is_meant or is_gone or known.minimum_w <= limit.watts <= known.maximum_w:
            return
        what = f"{address} takes {known.minimum_w:g} W to {known.maximum_w:g} W, and {limit.watts} W is asked for"
        self._report("changes.out_of_range", what, limit.where, "ask for a limit within its range")

    def _check_height(self, limit: LimitPower) -> None:
        """Report a limit that no GPU of a model takes; of a GPU that was asked, its own range counts."""
        wanted = self.wanted
        for address, model in list_limited_gpus(limit, self._nodes, replaced=wanted.replaced, added=wanted.added):
            if limit.index is None and (address.node, address.index) in wanted.limits:
                continue
            is_asked = address in self._limit_ranges and address not in wanted.replaced
            why = (
                None if is_asked or address in wanted.removed else explain_too_high(limit.watts, model, self._find_gpu)
            )
            if why is not None:
                what, hint = f"{address}: {why}", "ask for a limit in watts of one GPU, not over what it takes"
                self._report("changes.out_of_range", what, limit.where, hint)

    def _is_free(self, gpu: GpuAddress, where: str, fate: str) -> bool:
        """Return whether a GPU exists and nothing else was asked of it."""
        if not self._has_known_gpus(gpu.node, where):
            return False
        if gpu.index not in self._list_indexes(gpu.node):
            self._report_no_such_gpu(gpu, where)
            return False
        if gpu in self._asked:
            what = f"{gpu} cannot be {self._asked[gpu]} and also {fate}"
            self._report("changes.conflict", what, where, "ask for one change of each GPU")
            return False
        self._asked[gpu] = f"{fate} ({where})"
        self.wanted.where[gpu] = where
        return True

    def _is_once(self, thing: tuple[object, ...], where: str, name: str) -> bool:
        if thing in self._asked:
            what = f"{name} is asked for twice, first by {self._asked[thing]}"
            self._report("changes.conflict", what, where, "keep one of them")
            return False
        self._asked[thing] = where
        return True

    def _has_node(self, name: str, where: str) -> bool:
        if name in self._nodes or name in self._new:
            return True
        hint = did_you_mean(name, [*self._nodes, *self._new])
        self._report("changes.unknown_reference", f"there is no node {name!r}", where, hint)
        return False

    def _has_known_gpus(self, name: str, where: str) -> bool:
        if not self._has_node(name, where):
            return False
        if name not in self._new and self._nodes[name].gpus is None:
            what = f"the cluster file does not list the GPUs of {name!r}; which it has is not known"
            hint = f"list them: run `corral inventory --merge <file> --node {name}` on that machine"
            self._report("changes.unlisted_gpus", what, where, hint)
            return False
        return True

    def _list_indexes(self, node: str) -> set[int]:
        return {gpu.index for gpu in self._nodes[node].gpus or ()} if node in self._nodes else set()

    def _list_new_indexes(self, node: str) -> set[int]:
        """Return the indexes that GPUs get which come into a node (`arrangement.arrange` numbers them so)."""
        # counted as they are asked for: an unknown model is one problem, and the limit of its GPU not another
        incoming = sum(_count_new(change, node) for change in self._changes)
        first = max(self._list_indexes(node), default=-1) + 1
        return set(range(first, first + incoming))

    def _report_no_such_gpu(self, gpu: GpuAddress, where: str) -> None:
        listed = ", ".join(str(index) for index in sorted(self._list_indexes(gpu.node)))
        hint = f"use one of its GPUs ({listed})" if listed else f"add one: `--add {gpu.node}=MODEL`"
        self._report("changes.unknown_reference", f"node {gpu.node!r} has no GPU {gpu.index}", where, hint)

    def _find_model(self, text: str, where: str) -> str | None:
        try:
            model = self._find_gpu(text)
        except CorralError as error:
            self._report("changes.unknown_reference", error.what, where, error.hint)
            return None
        if isinstance(model, tuple):
            what = f"{text!r} is the name of {len(model)} GPU models"
            self._report("changes.ambiguous_reference", what, where, f"write one of {_list_candidates(model)}")
            return None
        return model.name

    def _report(self, code: str, what: str, where: str, hint: str | None) -> None:
        self.problems.append(Problem(code=code, what=what, where=where, hint=hint))


def _count_new(change: Change, node: str) -> int:
    """Count the GPUs that a change brings into a node."""
    match change:
        case AddGpu():
            return int(change.node == node)
        case AddNode():
            return len(change.models) if change.name == node else 0
        case MoveGpu():
            return int(change.to == node)
        case _:
            return 0


def _list_candidates(candidates: tuple[GpuFacts, ...]) -> str:
    return ", ".join(f"`{candidate.name}` ({format_bytes(candidate.memory)})" for candidate in candidates[:6])


def list_limited_gpus(
    limit: LimitPower,
    nodes: Mapping[str, Node],
    *,
    replaced: Mapping[GpuAddress, str],
    added: Mapping[str, list[str]],
) -> Iterator[tuple[GpuAddress, str]]:
    """List the GPUs with their models; those that come are called as `arrangement.arrange` calls them.

    A GPU that leaves its node is not looked for: it is reported as a contradiction, or takes its own limit along.
    """
    gpus = nodes[limit.node].gpus or () if limit.node in nodes else ()
    models = {gpu.index: replaced.get(GpuAddress(node=limit.node, index=gpu.index), gpu.model) for gpu in gpus}
    models |= dict(enumerate(added.get(limit.node, ()), start=max(models, default=-1) + 1))
    for index, model in models.items():
        if model is not None and limit.index in (None, index):
            yield GpuAddress(node=limit.node, index=index), model


def explain_too_high(watts: int, model: str, find_gpu: FindGpu) -> str | None:
    """Explain why a limit is beyond what any GPU of a model takes; None when it is not, or when that is unknown."""
    try:
        gpu = find_gpu(model)
    except CorralError:
        return None  # of a model that is in no catalogue the file says what it knows
    if not isinstance(gpu, GpuModel) or gpu.tdp_w is None or watts <= gpu.tdp_w:
        return None
    doubt = doubt_limit(watts, gpu.tdp_w)
    return None if doubt is None else f"{doubt} ({gpu.name}: {gpu.source})"
