"""Free places for replicas that are alike, the best first; kept while they are taken one after another.

A node's best place is worked out again when it comes to the top and something has been taken there since. So placing
thousands of replicas looks at a few nodes for each, not at all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush

from corral.planning.placement.demand import Demand
from corral.planning.placement.ledger import Ledger, Location, Unit
from corral.planning.placement.values import PlannedGpu

_Models = frozenset[str | None]
_Entry = tuple[int, int, str, tuple[int, ...]]
"""Points (fewer are better), the node's place in the file, its name, and GPUs on it."""
_UNKNOWN_SIZE = 2**62
"""Points of a GPU whose memory is unknown: the last choice."""


def allow_any_gpu(gpu: PlannedGpu) -> bool:
    """Allow every GPU."""
    return True


class Candidates:
    """The free places for one kind of replica on some nodes, by the models of GPU they have."""

    def __init__(
        self, ledger: Ledger, like: Demand, nodes: Iterable[str], allowed: Callable[[PlannedGpu], bool] = allow_any_gpu
    ) -> None:
        self._ledger = ledger
        self._like = like
        self._allowed = allowed
        self._heaps: dict[_Models, list[_Entry]] = defaultdict(list)
        order = {name: index for index, name in enumerate(ledger.machines)}
        for node in nodes:
            if ledger.node_admits(like, node):
                for models, points, indexes in self._list_choices(node):
                    self._heaps[models].append((points, order[node], node, indexes))
        for heap in self._heaps.values():
            heapify(heap)

    def take(self, unit: Unit) -> bool:
        """Take the best place for a replica: away from its like, on their model of GPU, the least memory left over."""
        location = self._choose_best(unit[0])
        if location is None:
            return False
        self._ledger.take(unit, location)
        return True

    def _choose_best(self, demand: Demand) -> Location | None:
        had = self._ledger.models.get(demand.number)
        tops: list[tuple[int, bool, _Entry]] = []
        for models, heap in self._heaps.items():
            top = self._find_top(models, heap, demand)
            if top is not None:
                # The first replica looks for a model that there are enough nodes of; the others follow it.
                mixed = not models <= had if had else len(heap) < demand.replicas
                tops.append((top[0], mixed, top[1]))
        if not tops:
            return None
        _, _, (_, _, node, indexes) = min(tops)
        return node, indexes

    def _find_top(self, models: _Models, heap: list[_Entry], demand: Demand) -> tuple[int, _Entry] | None:
        """Find the best place of a heap: the first on a node without its like, else where they are fewest."""
        aside: list[_Entry] = []
        top: tuple[int, _Entry] | None = None
        while heap and top is None:
            entry = self._settle_top(models, heap)
            if entry is None:
                break
            crowd = self._ledger.on_node[demand.number, entry[2]] if demand.replicas > 1 else 0
            if crowd == 0:
                top = (0, entry)
            else:
                aside.append(heappop(heap))
        for entry in aside:
            heappush(heap, entry)
        if top is None and aside:
            top = min((self._ledger.on_node[demand.number, entry[2]], entry) for entry in aside)
        return top

    def _settle_top(self, models: _Models, heap: list[_Entry]) -> _Entry | None:
        """Bring a heap's top up to date with what has been taken, and return it."""
        while heap:
            points, order, node, indexes = heap[0]
            now = next((choice for choice in self._list_choices(node) if choice[0] == models), None)
            if now is not None and now[1:] == (points, indexes):
                return heap[0]
            heappop(heap)
            if now is not None:
                heappush(heap, (now[1], order, node, now[2]))
        return None

    def _list_choices(self, node: str) -> Iterator[tuple[_Models, int, tuple[int, ...]]]:
        """List the best place of a node for each model of GPU, and a mixed one where no model has enough GPUs."""
        if not self._ledger.node_admits(self._like, node):
            return
        if not self._like.gpus:
            left = self._ledger.memory_left[node]
            yield frozenset(), -(left or 0), ()
            return
        by_model: dict[str | None, list[tuple[int, int]]] = defaultdict(list)
        for gpu in self._ledger.machines[node].gpus:
            if self._allowed(gpu) and self._ledger.admits(self._like, gpu):
                by_model[gpu.model].append((count_points(self._ledger, self._like, gpu), gpu.index))
        enough = {model: gpus for model, gpus in by_model.items() if len(gpus) >= self._like.gpus}
        for model, gpus in enough.items():
            yield self._make_choice(frozenset([model]), gpus)
        if not enough and sum(map(len, by_model.values())) >= self._like.gpus:
            yield self._make_choice(frozenset(by_model), [points for gpus in by_model.values() for points in gpus])

    def _make_choice(self, models: _Models, gpus: list[tuple[int, int]]) -> tuple[_Models, int, tuple[int, ...]]:
        chosen = sorted(gpus)[: self._like.gpus]
        return models, sum(points for points, _ in chosen), tuple(sorted(index for _, index in chosen))


def count_points(ledger: Ledger, demand: Demand, gpu: PlannedGpu) -> int:
    """Count the bytes that a replica would waste on a GPU; what takes all it can get wants the largest."""
    left = ledger.left[gpu.node, gpu.index]
    if left is None:
        return _UNKNOWN_SIZE
    return -left if demand.vram is not None and demand.vram.is_open else left - demand.needed
