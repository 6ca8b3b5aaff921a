"""Free places for replicas that are alike, the best first; kept while they are taken one after another.

A node's best place is worked out anew when it comes to the top and something has been taken there since. So seating
thousands of replicas looks at a few nodes for each, not at all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush

from corral.planning.placement.demand import Ask
from corral.planning.placement.ledger import Room, Seat, Unit
from corral.planning.placement.values import Card

_Models = frozenset[str | None]
_Entry = tuple[int, int, str, tuple[int, ...]]
"""Points (fewer are better), the node's place in the file, its name, and GPUs on it."""
_UNKNOWN_SIZE = 2**62
"""Points of a card whose memory is unknown: the last choice."""


def any_card(card: Card) -> bool:
    """Allow every card."""
    return True


class Offers:
    """The free places for one kind of replica on some nodes, by the models of card they have."""

    def __init__(self, room: Room, like: Ask, nodes: Iterable[str], allowed: Callable[[Card], bool] = any_card) -> None:
        self._room = room
        self._like = like
        self._allowed = allowed
        self._heaps: dict[_Models, list[_Entry]] = defaultdict(list)
        order = {name: place for place, name in enumerate(room.machines)}
        for node in nodes:
            if room.node_admits(like, node):
                for models, points, indexes in self._choices(node):
                    self._heaps[models].append((points, order[node], node, indexes))
        for heap in self._heaps.values():
            heapify(heap)

    def take(self, unit: Unit) -> bool:
        """Take the best place for a replica: away from its like, on their model of card, the least memory left over."""
        seat = self._best(unit[0])
        if seat is None:
            return False
        self._room.take(unit, seat)
        return True

    def _best(self, ask: Ask) -> Seat | None:
        had = self._room.models.get(ask.place)
        tops: list[tuple[int, bool, _Entry]] = []
        for models, heap in self._heaps.items():
            top = self._top(models, heap, ask)
            if top is not None:
                # The first replica looks for a model that there are enough nodes of; the others follow it.
                mixed = not models <= had if had else len(heap) < ask.replicas
                tops.append((top[0], mixed, top[1]))
        if not tops:
            return None
        _, _, (_, _, node, indexes) = min(tops)
        return node, indexes

    def _top(self, models: _Models, heap: list[_Entry], ask: Ask) -> tuple[int, _Entry] | None:
        """Find the best place of a heap: the first on a node without its like, else where they are fewest."""
        aside: list[_Entry] = []
        found: tuple[int, _Entry] | None = None
        while heap and found is None:
            entry = self._settled(models, heap)
            if entry is None:
                break
            crowd = self._room.on_node[ask.place, entry[2]] if ask.replicas > 1 else 0
            if crowd == 0:
                found = (0, entry)
            else:
                aside.append(heappop(heap))
        for entry in aside:
            heappush(heap, entry)
        if found is None and aside:
            found = min((self._room.on_node[ask.place, entry[2]], entry) for entry in aside)
        return found

    def _settled(self, models: _Models, heap: list[_Entry]) -> _Entry | None:
        """Bring a heap's top up to date with what has been taken, and return it."""
        while heap:
            points, place, node, indexes = heap[0]
            now = next((each for each in self._choices(node) if each[0] == models), None)
            if now is not None and now[1:] == (points, indexes):
                return heap[0]
            heappop(heap)
            if now is not None:
                heappush(heap, (now[1], place, node, now[2]))
        return None

    def _choices(self, node: str) -> Iterator[tuple[_Models, int, tuple[int, ...]]]:
        """List the best place of a node for each model of card, and a mixed one where no model has enough cards."""
        if not self._room.node_admits(self._like, node):
            return
        if not self._like.gpus:
            left = self._room.memory_left[node]
            yield frozenset(), -(left or 0), ()
            return
        by_model: dict[str | None, list[tuple[int, int]]] = defaultdict(list)
        for card in self._room.machines[node].cards:
            if self._allowed(card) and self._room.admits(self._like, card):
                by_model[card.model].append((points_of(self._room, self._like, card), card.index))
        enough = {model: cards for model, cards in by_model.items() if len(cards) >= self._like.gpus}
        for model, cards in enough.items():
            yield self._choice(frozenset([model]), cards)
        if not enough and sum(map(len, by_model.values())) >= self._like.gpus:
            yield self._choice(frozenset(by_model), [each for cards in by_model.values() for each in cards])

    def _choice(self, models: _Models, cards: list[tuple[int, int]]) -> tuple[_Models, int, tuple[int, ...]]:
        chosen = sorted(cards)[: self._like.gpus]
        return models, sum(points for points, _ in chosen), tuple(sorted(index for _, index in chosen))


def points_of(room: Room, ask: Ask, card: Card) -> int:
    """Count the bytes that a replica would waste on a card; what takes all it can get wants the largest."""
    left = room.left[card.node, card.index]
    if left is None:
        return _UNKNOWN_SIZE
    return -left if ask.vram is not None and ask.vram.is_open else left - ask.needed
