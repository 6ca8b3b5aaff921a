"""The search for the best plan: first fit, then tier by tier what an integer program finds better, with its bound.

A cluster in which first fit places everything needs no search. Small clusters are searched GPU by GPU and tier by
tier: no plan has more of a tier without having fewer of one before it. In large ones, GPUs and replicas that are alike
are counted, and tiers are weighed: a plan can give up one first replica for more than ten further ones. How much better
any plan could be is known in both cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor

from corral.planning.placement.alike import EXACT_LIMIT, Detail, GpuGroup, NodeGroup, Sort
from corral.planning.placement.candidates import Candidates
from corral.planning.placement.demand import Demand
from corral.planning.placement.greedy import WORTH, fill, make_way
from corral.planning.placement.integer_program import ReplicaProgram
from corral.planning.placement.ledger import Ledger, Unit
from corral.planning.placement.values import Machine, PlannedGpu, Proof, Tier

_ROUNDING = 1e-6
"""The tolerance of the solver's bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The best plan that was found, and what is proven about it."""

    ledger: Ledger
    proofs: tuple[Proof, ...]
    gap: float
    """Part by which another plan could be better at most, from 0 (proven best) to 1."""
    exact: bool


def search(machines: Sequence[Machine], demands: Sequence[Demand]) -> SearchResult:
    """Place as many replicas as can be, the first tiers first."""
    ledger = Ledger(machines)
    fill(ledger, demands)
    if all(count_placed(demands, ledger, tier) == count_asked(demands, tier) for tier in Tier):
        proofs = tuple(_prove(demands, ledger, tier, count_asked(demands, tier)) for tier in Tier)
        return SearchResult(ledger=ledger, proofs=proofs, gap=0.0, exact=is_exact(demands, ledger))
    return (
        _search_exactly(machines, demands, ledger)
        if is_exact(demands, ledger)
        else search_by_count(machines, demands, ledger)
    )


def is_exact(demands: Sequence[Demand], ledger: Ledger) -> bool:
    """Return whether the cluster is small enough to be searched GPU by GPU."""
    return len(demands) * max(len(ledger.gpus), len(ledger.machines)) <= EXACT_LIMIT


def _search_exactly(machines: Sequence[Machine], demands: Sequence[Demand], ledger: Ledger) -> SearchResult:
    """Count the alike GPUs of a node together, and only where that cannot be placed, search GPU by GPU."""
    result = _search_tiers(machines, demands, ledger, Detail.NODE)
    return result if result.gap == 0 else _search_tiers(machines, demands, result.ledger, Detail.GPU)


def _search_tiers(
    machines: Sequence[Machine], demands: Sequence[Demand], ledger: Ledger, detail: Detail
) -> SearchResult:
    """Those tiers that the room has completely need no program, until one that it has not."""
    counting = ReplicaProgram(machines, demands, ledger, detail)
    reached: dict[Tier, int] = {}
    bounds: dict[Tier, int] = {}
    values: Sequence[int] = ()
    for tier in Tier:
        counted = sum(sort.count(tier) for sort in counting.sorts)
        outside = count_asked(demands, tier) - counted  # placed in every plan, in no program
        reached[tier], bounds[tier] = counted, counted + outside
        placed = count_placed(demands, ledger, tier)
        if not values and placed < bounds[tier] and placed - outside == _bound_by_gpus(counting, tier, reached):
            reached[tier], bounds[tier] = placed - outside, placed
            continue
        if values or placed < bounds[tier]:
            answer = counting.maximise_tier(tier, reached)
            values, reached[tier] = answer.values, round(answer.objective)
            bounds[tier] = outside + floor(answer.bound + _ROUNDING)
    if not values:
        proofs = tuple(_prove(demands, ledger, tier, bounds[tier]) for tier in Tier)
        return SearchResult(ledger=ledger, proofs=proofs, gap=0.0, exact=True)
    other = place_counted(counting, values, machines)
    fill(other, demands)
    best = max(ledger, other, key=lambda plan: [count_placed(demands, plan, tier) for tier in Tier])
    proofs = tuple(_prove(demands, best, tier, bounds[tier]) for tier in Tier)
    return SearchResult(ledger=best, proofs=proofs, gap=max(proof.gap for proof in proofs), exact=True)


def _bound_by_gpus(counting: ReplicaProgram, tier: Tier, reached: Mapping[Tier, int]) -> int | None:
    """Return how many of a tier's replicas the GPUs can hold at most that the tiers before it leave.

    The usual reason why something has no place is that every GPU is taken, and that needs no solver, which takes a
    quarter of a second to load. None where a tier before has replicas without a place, or one of this tier shares GPUs.
    """
    before = [earlier for earlier in Tier if earlier < tier]
    sorts = counting.sorts
    if any(reached[earlier] < sum(sort.count(earlier) for sort in sorts) for earlier in before):
        return None
    sizes = [sort.like.gpus if sort.like.whole else 0 for sort in sorts if sort.count(tier)]
    if not all(sizes):
        return None
    usable = {number for _, number in counting.gpus}
    gpus = sum(
        gpu_group.count for group in counting.groups for gpu_group in group.gpu_groups if gpu_group.number in usable
    )
    taken = sum(sort.like.gpus * sort.count(earlier) for sort in sorts if sort.like.whole for earlier in before)
    return (gpus - taken) // min(sizes)


def search_by_count(machines: Sequence[Machine], demands: Sequence[Demand], ledger: Ledger) -> SearchResult:
    """Count what a large cluster can hold, and place it; `ledger` is a plan to improve on."""
    counting = ReplicaProgram(machines, demands, ledger, Detail.KIND)
    answer = counting.maximise_worth(WORTH)
    other = place_counted(counting, answer.values, machines)
    fill(other, demands)
    make_way(other, demands)
    fill(other, demands)
    best = max(ledger, other, key=lambda plan: weigh_placed(demands, plan))
    counted = sum(WORTH[tier] * sort.count(tier) for sort in counting.sorts for tier in Tier)
    outside = sum(WORTH[tier] * count_asked(demands, tier) for tier in Tier) - counted
    bound = answer.bound + outside
    missing = bound - weigh_placed(demands, best)
    proofs = tuple(_prove(demands, best, tier, None) for tier in Tier)
    return SearchResult(ledger=best, proofs=proofs, gap=missing / bound if missing > _ROUNDING else 0.0, exact=False)


def _prove(demands: Sequence[Demand], ledger: Ledger, tier: Tier, bound: int | None) -> Proof:
    return Proof(tier=tier, asked=count_asked(demands, tier), placed=count_placed(demands, ledger, tier), at_most=bound)


def weigh_placed(demands: Sequence[Demand], ledger: Ledger) -> int:
    """Weigh what is placed."""
    return sum(WORTH[tier] * count_placed(demands, ledger, tier) for tier in Tier)


def count_asked(demands: Sequence[Demand], tier: Tier) -> int:
    """Count the replicas of a tier."""
    return sum(demand.tier(replica) is tier for demand in demands for replica in range(demand.replicas))


def count_placed(demands: Sequence[Demand], ledger: Ledger, tier: Tier) -> int:
    """Count the replicas of a tier that have a place."""
    return sum(
        demand.tier(replica) is tier and (demand.number, replica) in ledger.locations
        for demand in demands
        for replica in range(demand.replicas)
    )


def place_counted(counting: ReplicaProgram, values: Sequence[int], machines: Sequence[Machine]) -> Ledger:
    """Place the replicas that an answer counts, as far as they can be."""
    ledger = Ledger(machines)
    numbers = sorted(range(len(counting.sorts)), key=lambda number: _rank_hardness(counting.sorts[number]))
    for number in numbers:
        waiting = counting.sorts[number].units
        for index, group in enumerate(counting.groups):
            if counting.sorts[number].like.gpus == 1:
                _place_on_gpu_groups(ledger, counting, values, number, group, waiting)
            elif (column := counting.replicas.get((number, index))) is not None:
                gpu_groups = [
                    gpu_group for gpu_group in group.gpu_groups if _read_value(counting, values, number, gpu_group)
                ]
                _place(ledger, counting.sorts[number], group, gpu_groups, waiting, values[column])
    return ledger


def _rank_hardness(sort: Sort) -> tuple[object, ...]:
    like = sort.like
    return (not like.bonds, like.indexes is None, -like.gpus, not like.whole, -like.needed, -like.memory, like.number)


def _place_on_gpu_groups(
    ledger: Ledger, counting: ReplicaProgram, values: Sequence[int], number: int, group: NodeGroup, waiting: list[Unit]
) -> None:
    for gpu_group in group.gpu_groups:
        if count := _read_value(counting, values, number, gpu_group):
            _place(ledger, counting.sorts[number], group, [gpu_group], waiting, count)


def _read_value(counting: ReplicaProgram, values: Sequence[int], number: int, gpu_group: GpuGroup) -> int:
    column = counting.gpus.get((number, gpu_group.number))
    return 0 if column is None else values[column]


def _place(
    ledger: Ledger, sort: Sort, group: NodeGroup, gpu_groups: Sequence[GpuGroup], waiting: list[Unit], count: int
) -> None:
    def allowed(gpu: PlannedGpu) -> bool:
        return any(gpu_group.has(gpu) for gpu_group in gpu_groups)

    candidates = Candidates(ledger, sort.like, sort.like.nodes(group.nodes), allowed)
    for _ in range(count):
        if not waiting or not candidates.take(waiting[0]):
            return
        waiting.pop(0)
