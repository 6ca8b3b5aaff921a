"""The integer program of placement: how many replicas of each sort go to each group of equal GPUs.

Columns: GPUs of a GPU group that a sort gets; for sorts that want several GPUs, replicas on a node group (all GPUs of
a replica are on one node); GPUs of a GPU group that are shared; first and further replicas that are placed.
Rows: GPUs and memory are not given twice. For memory shared on one GPU, the plain sum of needs is a weak bound
(three needs of 9 GiB fill 27 of 32 GiB on two GPUs of 16, and yet only two fit), so rows by dual feasible functions
are added: replace needs above 1 - d by 1 and those below d by 0, and no GPU holds more than 1 (Martello and
Toth, "Lower bounds and reduction procedures for the bin packing problem", 1990).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import gcd

from corral.planning.placement.alike import Detail, GpuGroup, NodeGroup, Sort, group_nodes, sort_out_alike, would_suit
from corral.planning.placement.demand import Demand
from corral.planning.placement.ledger import Ledger
from corral.planning.placement.solver import Answer, Effort, Program
from corral.planning.placement.values import Machine, PlannedGpu, Tier

EXACT = Effort(nodes=5_000, gap=0.0, step=0.99)
"""Programs of small clusters are solved to the end; the limit is for the odd one that would take minutes."""
COUNTED = Effort(nodes=200, gap=0.005, step=0.99)
"""A quarter of the 2 % that a large plan can be away from its bound; placing takes the rest."""
_MIB = 2**20
"""Programs count memory in MiB: numbers near one another are solved more reliably."""
_MOST_THRESHOLDS = 12
"""Rows for each GPU group by the size of the smallest need that counts; more make the program slow, not tight."""
_PARTS = (1, 2, 3, 4)
"""Parts that needs are rounded down to, in the rows that count needs above a half, a third, a quarter, a fifth."""

Terms = dict[int, float]


class ReplicaProgram:
    """The program, its columns by what they mean."""

    def __init__(self, machines: Sequence[Machine], demands: Sequence[Demand], ledger: Ledger, detail: Detail) -> None:
        self.groups = groups = group_nodes(machines, demands, detail)
        self.sorts = sorts = sort_out_alike(demands, ledger)
        self.program = Program()
        self.gpus: dict[tuple[int, int], int] = {}
        """Columns by sort and GPU group: GPUs that the sort gets there."""
        self.replicas: dict[tuple[int, int], int] = {}
        """Columns by sort and node group: replicas on it, for sorts of several GPUs or none."""
        self.shared: dict[int, int] = {}
        """Columns by GPU group: GPUs that are shared."""
        self.tiers: dict[Tier, Terms] = {tier: {} for tier in Tier}
        """Columns that count the replicas that are placed."""
        self._effort = COUNTED if detail is Detail.KIND else EXACT
        for number in range(len(sorts)):
            self._add_sort(number)
        for index, group in enumerate(groups):
            for gpu_group in group.gpu_groups:
                self._add_gpu_group(gpu_group)
            self._add_memory(index, group)
        if detail is Detail.KIND:
            self._add_named_nodes()

    def _add_sort(self, number: int) -> None:
        sort = self.sorts[number]
        units = sum(sort.count(tier) for tier in Tier)
        placed: Terms = {}
        for index, group in enumerate(self.groups):
            if sort.like.gpus == 0:
                placed |= self._add_without_cards(number, index, group, units)
            else:
                placed |= self._add_on_group(number, index, group, units)
        counted = {self.program.add_column(sort.count(tier)): tier for tier in Tier if sort.count(tier)}
        for column, tier in counted.items():
            self.tiers[tier][column] = 1.0
        self.program.fix_sum({**placed, **dict.fromkeys(counted, -1.0)}, 0)

    def _add_without_cards(self, number: int, index: int, group: NodeGroup, units: int) -> Terms:
        like = self.sorts[number].like
        nodes = like.nodes(group.nodes)
        most = units if not like.memory or group.memory is None else int(group.memory // like.memory)
        if not nodes or not most:
            return {}
        column = self.program.add_column(min(units, most * len(nodes)))
        self.replicas[number, index] = column
        return {column: 1.0}

    def _add_on_group(self, number: int, index: int, group: NodeGroup, units: int) -> Terms:
        sort = self.sorts[number]
        gpu_groups = [gpu_group for gpu_group in group.gpu_groups if would_suit(sort, group, gpu_group)]
        nodes = len(sort.like.nodes(group.nodes))
        per_node = {gpu_group.number: gpu_group.count // len(group.nodes) for gpu_group in gpu_groups}
        gpus = sort.like.gpus
        if sum(per_node.values()) < gpus:
            return {}
        for gpu_group in gpu_groups:
            most = units * gpus if not sort.like.whole else min(units * gpus, per_node[gpu_group.number] * nodes)
            self.gpus[number, gpu_group.number] = self.program.add_column(most)
        columns = {self.gpus[number, gpu_group.number]: 1.0 for gpu_group in gpu_groups}
        if gpus == 1:
            return columns
        replicas = self.program.add_column(min(units, sum(per_node.values()) // gpus * nodes))
        self.replicas[number, index] = replicas
        self.program.fix_sum({**columns, replicas: -float(gpus)}, 0)
        return {replicas: 1.0}

    def _add_gpu_group(self, gpu_group: GpuGroup) -> None:
        placeable = [number for number in range(len(self.sorts)) if (number, gpu_group.number) in self.gpus]
        whole: Terms = {self.gpus[index, gpu_group.number]: 1.0 for index in placeable if self.sorts[index].like.whole}
        needs = {
            self.gpus[index, gpu_group.number]: self.sorts[index].like.needed
            for index in placeable
            if not self.sorts[index].like.whole
        }
        if needs and gpu_group.gpu.usable:
            shared = self.program.add_column(gpu_group.count)
            self.shared[gpu_group.number] = shared
            whole[shared] = 1.0
            for weights, capacity in make_sharing_rows(needs, gpu_group.gpu.usable):
                self.program.bound_above({**weights, shared: -capacity}, 0)
        self.program.bound_above(whole, gpu_group.count)

    def _add_memory(self, index: int, group: NodeGroup) -> None:
        if group.memory is None:
            return
        terms = self.on_group(index, _weigh_memory)
        self.program.bound_above(terms, len(group.nodes) * group.memory / _MIB)

    def on_group(
        self, index: int, weight: Callable[[Sort, PlannedGpu | None], float], numbers: Iterable[int] | None = None
    ) -> Terms:
        """Weigh the replicas on a group: of all sorts, or of some; those with one GPU by what it is."""
        terms: Terms = {}
        for number in range(len(self.sorts)) if numbers is None else numbers:
            sort = self.sorts[number]
            if (number, index) in self.replicas:
                if weighed := weight(sort, None):
                    terms[self.replicas[number, index]] = weighed
                continue
            for gpu_group in self.groups[index].gpu_groups:
                if (number, gpu_group.number) in self.gpus and (weighed := weight(sort, gpu_group.gpu)):
                    terms[self.gpus[number, gpu_group.number]] = weighed
        return terms

    def _add_named_nodes(self) -> None:
        """Bound what is tied to one node by what that node has; alike nodes are counted together otherwise."""
        tied: dict[str, list[int]] = {}
        for number, sort in enumerate(self.sorts):
            if sort.like.bonds:
                tied.setdefault(sort.like.bonds[0].node, []).append(number)
        indexes = {node: index for index, group in enumerate(self.groups) for node in group.nodes}
        for node, numbers in tied.items():
            if node in indexes:
                self._add_named_node(indexes[node], numbers)

    def _add_named_node(self, index: int, numbers: Sequence[int]) -> None:
        group = self.groups[index]
        nodes = len(group.nodes)
        for gpu_group in group.gpu_groups:
            terms = {
                self.gpus[number, gpu_group.number]: _count_part(self.sorts[number], gpu_group)
                for number in numbers
                if (number, gpu_group.number) in self.gpus
            }
            self.program.bound_above(terms, gpu_group.count / nodes)
        if group.memory is not None:
            terms = self.on_group(index, _weigh_memory, numbers)
            self.program.bound_above(terms, group.memory / _MIB)

    def maximise_tier(self, tier: Tier, reached: Mapping[Tier, int]) -> Answer:
        """Place as many of a tier as can be, with at least so many of the tiers before it."""
        floors = [(self.tiers[before], reached[before]) for before in Tier if before < tier]
        return self.program.maximise(self.tiers[tier], self._effort, floors)

    def maximise_worth(self, worth: Mapping[Tier, int]) -> Answer:
        """Place what is worth the most together."""
        costs = {column: float(worth[tier]) for tier in Tier for column in self.tiers[tier]}
        return self.program.maximise(costs, self._effort)


def _weigh_memory(sort: Sort, gpu: PlannedGpu | None) -> float:
    """Weigh the main memory of a replica, in MiB, with that of a GPU that has none of its own.

    No machine has several GPUs without memory of their own, so replicas of several GPUs take none of it for them.
    """
    return sort.like.count_memory(() if gpu is None else (gpu,)) / _MIB


def _count_part(sort: Sort, gpu_group: GpuGroup) -> float:
    """Return how much of a GPU a replica takes at least."""
    return 1.0 if sort.like.whole or not gpu_group.gpu.usable else sort.like.needed / gpu_group.gpu.usable


def make_sharing_rows(needs: Mapping[int, int], usable: int) -> Iterator[tuple[Terms, float]]:
    """Bound what GPUs of one size can hold: weights by column, and the capacity of one GPU."""
    usable = find_fillable(needs.values(), usable)
    yield {column: need / _MIB for column, need in needs.items()}, usable / _MIB
    small = sorted({need for need in needs.values() if 2 * need <= usable})
    step = max(1, -(-len(small) // _MOST_THRESHOLDS))
    for threshold in small[::step]:
        weights = {column: _round_above(need, threshold, usable) for column, need in needs.items()}
        yield {column: weight for column, weight in weights.items() if weight}, 1.0
    for parts in _PARTS:
        weights = {column: _round_down(need, parts, usable) for column, need in needs.items()}
        yield {column: weight for column, weight in weights.items() if weight}, 1.0


def find_fillable(needs: Iterable[int], usable: int) -> int:
    """Return the most of a GPU that needs of these sizes can fill, each used as often as one likes.

    Needs of whole GiB fill 15 of 15.5 GiB. Sums are counted in steps of the largest size that all needs are multiples
    of; where that is finer than a MiB, the whole GPU counts.
    """
    sizes = {need for need in needs if 0 < need <= usable}
    step = gcd(*sizes)
    if step < _MIB:
        return usable
    limit = usable // step
    within = (1 << limit + 1) - 1
    sums = 1
    for size in sorted(sizes):
        shift = size // step
        while shift <= limit:
            sums |= (sums << shift) & within
            shift *= 2
    return (sums.bit_length() - 1) * step


def _round_above(need: int, threshold: int, usable: int) -> float:
    """Count a need that leaves less than the threshold as a whole GPU, one below the threshold as nothing."""
    if need < threshold:
        return 0.0
    return 1.0 if need > usable - threshold else need / usable


def _round_down(need: int, parts: int, usable: int) -> float:
    """Round a need down to parts of a GPU; three needs above a third do not fit on one GPU, so each counts a half."""
    if need * (parts + 1) % usable == 0:
        return need / usable
    return need * (parts + 1) // usable / parts
