"""Makes what refers to a card follow it: pools of queues, placements of layouts, instances of engines.

Where a card has moved up or to another node, the reference is rewritten. Where it is gone, a pool or a placement does
without it; a queue that would have no slot left, and a server that is bound to the card, are for the user to decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from corral.cluster.document import Path, spell
from corral.cluster.editing.editor import Editor
from corral.errors import Problem
from corral.planning.changes.rewriting import Told
from corral.planning.changes.values import GpuAddress

_SELECTOR = re.compile(r"([^/]+)/gpu(\d{1,3})", re.ASCII)
Places = Mapping[GpuAddress, GpuAddress | None]


def follow(editor: Editor, places: Places, asked: Mapping[GpuAddress, str]) -> tuple[Told, list[Problem]]:
    """Rewrite every reference; `asked` says where a card's change was asked for, for the problems."""
    follower = _Follower(editor, {old: new for old, new in places.items() if old != new}, asked)
    for at in editor.inside(("queues",)):
        follower.pool(at)
    for layout in editor.inside(("layouts",)):
        for at in editor.inside((*layout, "services")):
            follower.placement(at, str(at[-1]))
    for engine in editor.inside(("engines",)):
        for at in editor.inside((*engine, "instances")):
            follower.instance(at)
    return follower.told, follower.problems


class _Follower:
    """Goes through the references of one file."""

    def __init__(self, editor: Editor, gone: Places, asked: Mapping[GpuAddress, str]) -> None:
        self.told: Told = []
        self.problems: list[Problem] = []
        self._editor = editor
        self._gone = gone
        self._asked = asked

    def pool(self, at: Path) -> None:
        """Rewrite the pool of a queue."""
        here = (*at, "pool")
        selectors: list[Any] = self._editor.at(here) or []
        found = [(place, address) for place, address in _selected(selectors) if address in self._gone]
        left = len(selectors) - sum(self._gone[address] is None for _, address in found)
        if found and not left:
            lost = found[0][1]
            self._undecided(
                lost,
                f"the queue {self._editor.at((*at, 'name'))!r} would have no slot left without {lost}",
                f"give `{spell(here)}` another slot in the cluster file first, or remove the queue",
            )
            return
        for place, address in reversed(found):
            new = self._gone[address]
            self._rewrite((*here, place), None if new is None else str(new), f"{address}")

    def placement(self, at: Path, service: str) -> None:
        """Rewrite the GPUs that a layout gives to a service; without any left, its GPUs are left open."""
        here = (*at, "gpus")
        node = self._editor.at((*at, "node")) or self._node_of(service)
        indexes: list[Any] = self._editor.at(here) or []
        found = [(place, address) for place, address in _addresses(node, indexes) if address in self._gone]
        if found and len(found) == len(indexes) and all(self._new(address) is None for _, address in found):
            self._editor.remove(here)
            what = f"{found[0][1]} is not there any more: which GPUs {service!r} gets in this layout is left open"
            self.told.append((what, at))
            return
        for place, address in reversed(found):
            self._rewrite((*here, place), self._new(address), str(address))

    def instance(self, at: Path) -> None:
        """Rewrite the GPU that a running server is bound to."""
        node, index = self._editor.at((*at, "node")), self._editor.at((*at, "gpu"))
        address = GpuAddress(node=node, index=index) if isinstance(node, str) and isinstance(index, int) else None
        if address is None or address not in self._gone:
            return
        new = self._new(address)
        if new is None:
            name = self._editor.at((*at, "name"))
            what = f"the server {name!r} computes on {address}, which will not be there"
            self._undecided(address, what, f"bind `{spell(at)}` to another GPU in the cluster file first, or remove it")
        else:
            self._rewrite((*at, "gpu"), new, str(address))

    def _rewrite(self, at: Path, value: str | int | None, old: str) -> None:
        if value is None:
            self._editor.remove(at)
            self.told.append((f"{old} is not there any more and was taken out", at[:-1]))
        else:
            self._editor.assign(at, value)
            *holder, step = at
            where = tuple(holder) if isinstance(step, int) else at  # a place in a list may change once more
            self.told.append((f"{old} became {value}: it follows the card", where))

    def _new(self, address: GpuAddress) -> int | None:
        """Return the card's new index on its node; None when it is not on this node any more."""
        new = self._gone[address]
        return new.index if new is not None and new.node == address.node else None

    def _undecided(self, address: GpuAddress, what: str, hint: str) -> None:
        where = self._asked.get(address) or str(address)
        self.problems.append(Problem(code="changes.dangling", what=what, where=where, hint=hint))

    def _node_of(self, service: str) -> Any:  # plain YAML
        for entry in self._editor.at(("services",)) or ():
            if entry.get("name") == service:
                return entry.get("node")
        return None


def _selected(selectors: list[str]) -> Iterator[tuple[int, GpuAddress]]:
    for place, selector in enumerate(selectors):
        if match := _SELECTOR.fullmatch(selector):
            yield place, GpuAddress(node=match[1], index=int(match[2]))


def _addresses(node: Any, indexes: list[Any]) -> Iterator[tuple[int, GpuAddress]]:  # plain YAML
    for place, index in enumerate(indexes if isinstance(node, str) else ()):
        yield place, GpuAddress(node=node, index=index)
