"""The text of the changed nodes, entry by entry, and of everything that refers to a GPU that moved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from corral.cluster.document import YamlPath, spell
from corral.cluster.editing import spelling
from corral.cluster.editing.editor import Editor
from corral.cluster.values import Cluster, Gpu
from corral.errors import Problem
from corral.planning.changes.arrangement import ArrangedGpu, Arrangement, Fate
from corral.planning.changes.checking import Wanted
from corral.planning.changes.values import AddNode, GpuAddress, GpuMoves

_OF_THE_OLD_CARD = ("memory", "uuid", "powerLimit")
Consequences = list[tuple[str, YamlPath]]
"""Changes that were not asked for but follow: a fact, and where."""


def rewrite(editor: Editor, before: Cluster, wanted: Wanted, arrangement: Arrangement) -> Consequences:
    """Write new nodes, GPUs, power limits, power supplies and memory; return what else was changed for them."""
    notes: Consequences = []
    for node in wanted.nodes.values():
        editor.append(("nodes",), _make_new_node(node))
    at: dict[str, YamlPath] = {node["name"]: ("nodes", number) for number, node in enumerate(editor.get(("nodes",)))}
    entries = _find_entries(editor, before, at)
    gpus = {GpuAddress(node=node.name, index=gpu.index): gpu for node in before.nodes for gpu in node.gpus or ()}
    for name, arranged in arrangement.items():
        _Node(editor, at[name], notes).write(arranged, entries, gpus, wanted)
    for psu in wanted.psus.values():
        editor.assign((*at[psu.node], "psu", "watts"), psu.watts)
    for memory in wanted.memories.values():
        editor.assign((*at[memory.node], "memory"), spelling.write_size(memory.memory))
    return notes


def _make_new_node(node: AddNode) -> Mapping[str, Any]:  # plain YAML
    entry: dict[str, Any] = {"name": node.name, "gpus": []}
    if node.psu_w is not None:
        entry["psu"] = {"watts": node.psu_w}
    if node.memory is not None:
        entry["memory"] = spelling.write_size(node.memory)
    return entry


def _find_entries(editor: Editor, before: Cluster, at: Mapping[str, YamlPath]) -> Mapping[GpuAddress, tuple[int, Any]]:
    """Find the place and the plain values of every GPU before anything is written."""
    return {
        GpuAddress(node=node.name, index=gpu.index): (number, dict(editor.get((*at[node.name], "gpus", number))))
        for node in before.nodes
        for number, gpu in enumerate(node.gpus or ())
    }


class _Node:
    """Writes the GPUs of one node."""

    def __init__(self, editor: Editor, at: YamlPath, notes: Consequences) -> None:
        self._editor = editor
        self._at: YamlPath = (*at, "gpus")
        self._notes = notes

    def write(
        self,
        arranged: tuple[ArrangedGpu, ...],
        entries: Mapping[GpuAddress, tuple[int, Any]],  # plain YAML
        gpus: Mapping[GpuAddress, Gpu],
        wanted: Wanted,
    ) -> None:
        had = len(self._editor.get(self._at) or ())
        for gpu in arranged:
            if gpu.fate is Fate.REPLACED and gpu.origin is not None:
                self._replace((*self._at, entries[gpu.origin][0]), gpu, gpus[gpu.origin])
        is_numbered = any("index" in entry for entry in self._editor.get(self._at) or ())
        for gpu in arranged:
            if gpu.fate in (Fate.MOVED, Fate.ADDED):
                moved: Mapping[str, Any] = entries[gpu.origin][1] if gpu.origin is not None else {}
                self._append(gpu, moved, is_numbered=is_numbered)
        staying = {entries[gpu.origin][0] for gpu in arranged if gpu.origin and gpu.fate in (Fate.KEPT, Fate.REPLACED)}
        for number in reversed([number for number in range(had) if number not in staying]):
            self._editor.remove((*self._at, number))
        for number, gpu in enumerate(arranged):
            self._write_index(number, gpu)
            self._write_limit(number, gpu, wanted)

    def _replace(self, at: YamlPath, gpu: ArrangedGpu, old: Gpu) -> None:
        self._editor.assign((*at, "model"), gpu.model)
        for key in _OF_THE_OLD_CARD:
            if not self._editor.has((*at, key)):
                continue
            self._editor.remove((*at, key))
            if key == "powerLimit":
                self._notes.append((f"the power limit of {old.power_limit_w} W was the old GPU's and is gone", at))

    def _append(self, gpu: ArrangedGpu, moved: Mapping[str, Any], *, is_numbered: bool) -> None:  # plain YAML
        entry: dict[str, Any] = {"model": gpu.model} if gpu.model else {}
        if is_numbered:
            entry["index"] = gpu.at.index
        entry |= {key: value for key, value in moved.items() if key != "index"}
        if "model" in entry:
            entry = {"model": entry["model"], **entry}
        self._editor.append(self._at, entry)
        number = len(self._editor.get(self._at)) - 1
        what = f"the GPU is taken to be GPU {gpu.at.index} of its node; once it is in, `corral inventory` finds out"
        self._notes.append((what, (*self._at, number)))

    def _write_index(self, number: int, gpu: ArrangedGpu) -> None:
        """Write the index of a GPU where its entry states another, or where its number would say another."""
        at = (*self._at, number)
        stated = self._editor.get((*at, "index"))
        if (number if stated is None else stated) != gpu.at.index:
            self._editor.assign((*at, "index"), gpu.at.index, after="model")
        if gpu.fate is Fate.KEPT and gpu.origin != gpu.at:
            self._notes.append((f"{gpu.origin} becomes {gpu.at}: the driver numbers GPUs without gaps", at))

    def _write_limit(self, number: int, gpu: ArrangedGpu, wanted: Wanted) -> None:
        own = wanted.limits.get((gpu.called.node, gpu.called.index))
        limit = own or wanted.limits.get((gpu.at.node, None))
        if limit is not None:
            self._editor.assign((*self._at, number, "powerLimit"), limit.watts)


_SELECTOR = re.compile(r"([^/]+)/gpu(\d{1,3})", re.ASCII)


def follow(editor: Editor, moves: GpuMoves, asked: Mapping[GpuAddress, str]) -> tuple[Consequences, list[Problem]]:
    """Rewrite every reference; `asked` says where a GPU's change was asked for, for the problems."""
    follower = _Follower(editor, {old: new for old, new in moves.items() if old != new}, asked)
    for at in editor.list_paths(("queues",)):
        follower.rewrite_pool(at)
    for layout in editor.list_paths(("layouts",)):
        for at in editor.list_paths((*layout, "services")):
            follower.rewrite_placement(at, str(at[-1]))
    for engine in editor.list_paths(("engines",)):
        for at in editor.list_paths((*engine, "instances")):
            follower.rewrite_instance(at)
    return follower.changes, follower.problems


class _Follower:
    """Goes through the references of one file."""

    def __init__(self, editor: Editor, gone: GpuMoves, asked: Mapping[GpuAddress, str]) -> None:
        self.changes: Consequences = []
        self.problems: list[Problem] = []
        self._editor = editor
        self._gone = gone
        self._asked = asked

    def rewrite_pool(self, at: YamlPath) -> None:
        """Rewrite the pool of a queue."""
        here = (*at, "pool")
        selectors: list[Any] = self._editor.get(here) or []
        gone = [(number, address) for number, address in _find_selected(selectors) if address in self._gone]
        left = len(selectors) - sum(self._gone[address] is None for _, address in gone)
        if gone and not left:
            lost = gone[0][1]
            self._report_undecided(
                lost,
                f"the queue {self._editor.get((*at, 'name'))!r} would have no slot left without {lost}",
                f"give `{spell(here)}` another slot in the cluster file first, or remove the queue",
            )
            return
        for number, address in reversed(gone):
            new = self._gone[address]
            self._rewrite((*here, number), None if new is None else str(new), f"{address}")

    def rewrite_placement(self, at: YamlPath, service: str) -> None:
        """Rewrite the GPUs that a layout gives to a service; without any left, its GPUs are left open."""
        here = (*at, "gpus")
        node = self._editor.get((*at, "node")) or self._find_node(service)
        indexes: list[Any] = self._editor.get(here) or []
        gone = [(number, address) for number, address in _list_addresses(node, indexes) if address in self._gone]
        if gone and len(gone) == len(indexes) and all(self._find_new_index(address) is None for _, address in gone):
            self._editor.remove(here)
            what = f"{gone[0][1]} is not there any more: which GPUs {service!r} gets in this layout is left open"
            self.changes.append((what, at))
            return
        for number, address in reversed(gone):
            self._rewrite((*here, number), self._find_new_index(address), str(address))

    def rewrite_instance(self, at: YamlPath) -> None:
        """Rewrite the GPU that a running server is bound to."""
        node, index = self._editor.get((*at, "node")), self._editor.get((*at, "gpu"))
        address = GpuAddress(node=node, index=index) if isinstance(node, str) and isinstance(index, int) else None
        if address is None or address not in self._gone:
            return
        new = self._find_new_index(address)
        if new is None:
            name = self._editor.get((*at, "name"))
            what = f"the server {name!r} computes on {address}, which will not be there"
            self._report_undecided(
                address, what, f"bind `{spell(at)}` to another GPU in the cluster file first, or remove it"
            )
        else:
            self._rewrite((*at, "gpu"), new, str(address))

    def _rewrite(self, at: YamlPath, value: str | int | None, old: str) -> None:
        if value is None:
            self._editor.remove(at)
            self.changes.append((f"{old} is not there any more and was taken out", at[:-1]))
        else:
            self._editor.assign(at, value)
            *holder, step = at
            where = tuple(holder) if isinstance(step, int) else at  # a place in a list can change once more
            self.changes.append((f"{old} became {value}: it follows the GPU", where))

    def _find_new_index(self, address: GpuAddress) -> int | None:
        """Return the GPU's new index on its node; None when it is not on this node any more."""
        new = self._gone[address]
        return new.index if new is not None and new.node == address.node else None

    def _report_undecided(self, address: GpuAddress, what: str, hint: str) -> None:
        where = self._asked.get(address) or str(address)
        self.problems.append(Problem(code="changes.dangling", what=what, where=where, hint=hint))

    def _find_node(self, service: str) -> Any:  # plain YAML
        for entry in self._editor.get(("services",)) or ():
            if entry.get("name") == service:
                return entry.get("node")
        return None


def _find_selected(selectors: list[str]) -> Iterator[tuple[int, GpuAddress]]:
    for number, selector in enumerate(selectors):
        if match := _SELECTOR.fullmatch(selector):
            yield number, GpuAddress(node=match[1], index=int(match[2]))


def _list_addresses(node: Any, indexes: list[Any]) -> Iterator[tuple[int, GpuAddress]]:  # plain YAML
    for number, index in enumerate(indexes if isinstance(node, str) else ()):
        yield number, GpuAddress(node=node, index=index)
