"""Brings what was found on a machine into its node's section: fills in, updates, and drops nothing.

What the machine knows better (cards, processor, memory, drives) is updated where it differs. What is the user's word
stays, and is told when the machine disagrees: power limits, the power supply, the address. A card or drive that the
machine does not show now may be lost, unplugged or disabled, so it stays as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from corral.cluster.document import Path
from corral.cluster.editing.cards import merge_cards
from corral.cluster.editing.editor import Editor
from corral.cluster.editing.facts import NodeFacts
from corral.cluster.editing.section import card_entry, disk_entry, values_of
from corral.cluster.gpu_facts import FindGpu
from corral.units import UnitError, parse_bytes

_ORDER = ("name", "address", "os", "k3sRole", "roles", "gpus", "cpu", "memory", "psu", "disks", "labels")
_SAME_SIZE = 0.01  # sizes are written with one decimal
_SAME_MEMORY = 0.1  # the kernel manages a few per cent less than is installed


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The new text, and what the user should know of it."""

    text: str
    node: str
    is_new: bool
    """Whether the node was added to the file."""
    notes: tuple[str, ...] = ()


def nodes_like(editor: Editor, facts: NodeFacts) -> tuple[str, ...]:
    """Name the nodes of a file that may be this machine: by UUID of a card, else by name or address."""
    nodes: list[dict[str, Any]] = editor.at(("nodes",)) or []  # plain YAML
    uuids = {card.uuid for card in facts.gpus or () if card.uuid}
    by_card = [one["name"] for one in nodes if any(gpu.get("uuid") in uuids for gpu in one.get("gpus") or ())]
    known = {facts.name, *facts.addresses}
    by_name = [one["name"] for one in nodes if one["name"] in known or one.get("address") in known]
    return tuple(dict.fromkeys(by_card or by_name))


def merge_node(editor: Editor, facts: NodeFacts, *, node: str, find_gpu: FindGpu) -> Merged:
    """Merge what was found into the node of this name; a node that the file does not have is added.

    The file must be one that loads. Raises: UneditableError.
    """
    names = [one["name"] for one in editor.at(("nodes",))]
    if node not in names:
        editor.append(("nodes",), _new_node(facts, node))
        return Merged(text=editor.finish(), node=node, is_new=True)
    merger = _Merger(editor, ("nodes", names.index(node)), facts)
    merger.merge(find_gpu)
    return Merged(text=editor.finish(), node=node, is_new=False, notes=tuple(merger.notes))


def _new_node(facts: NodeFacts, name: str) -> dict[str, Any]:  # plain YAML
    """Make the entry of a node in a file with others; without an address it would be the machine the file is on."""
    entry: dict[str, Any] = {"name": name, "address": facts.address or facts.name, **values_of(facts)}
    if facts.gpus is not None:
        entry["gpus"] = [card_entry(card) for card in facts.gpus]
    return {key: entry[key] for key in _ORDER if key in entry}


class _Merger:
    """Merges one node."""

    def __init__(self, editor: Editor, at: Path, facts: NodeFacts) -> None:
        self.notes: list[str] = []
        self._editor = editor
        self._at = at
        self._facts = facts
        self._found: dict[str, Any] = values_of(facts)  # plain YAML

    def merge(self, find_gpu: FindGpu) -> None:
        """Merge every part."""
        self._address()
        self._words(("os",))
        self._gpus(find_gpu)
        self._cpu()
        self._memory()
        self._psu()
        self._disks()

    def _address(self) -> None:
        stated = self._editor.at((*self._at, "address"))
        if stated is not None and stated not in {self._facts.name, *self._facts.addresses}:
            self.notes.append(f"the address stays {stated}; this machine has {', '.join(self._facts.addresses)}")

    def _words(self, path: Path) -> None:
        """Update a text, unless the file says the same in fewer or more words (`pop-os` for `pop`)."""
        found = self._found_at(path)
        stated = self._editor.at((*self._at, *path))
        if found is not None and not (isinstance(stated, str) and _is_same(stated, found)):
            self._assign(path, found, stated, " ".join(map(str, path)))

    def _cpu(self) -> None:
        stated, found = self._editor.at((*self._at, "cpu")), self._found.get("cpu")
        if not stated and found:
            self._assign(("cpu",), found, None, "cpu")
        elif found:
            self._words(("cpu", "model"))
            cores = self._facts.cpu_cores
            if cores is not None and cores != stated.get("cores"):
                self._assign(("cpu", "cores"), cores, stated.get("cores"), "cpu cores")

    def _memory(self) -> None:
        stated = _bytes(self._editor.at((*self._at, "memory")))
        found = self._facts.memory
        tolerance = _SAME_SIZE if self._facts.memory_is_installed else _SAME_MEMORY
        if found is not None and not _is_near(stated, found, tolerance):
            self._assign(("memory",), self._found["memory"], self._editor.at((*self._at, "memory")), "memory")

    def _psu(self) -> None:
        found = self._facts.psu_w
        watts = self._editor.at((*self._at, "psu", "watts"))
        stated = None if watts is None else str(watts).rstrip(" W")
        if stated is None and found is not None:
            self._assign(("psu",), {"watts": found}, None, "psu")
        elif found is not None and stated != str(found):
            self.notes.append(f"the power supply stays {stated} W; the board says {found} W")

    def _disks(self) -> None:
        here = (*self._at, "disks")
        places: dict[str, int] = {one["name"]: place for place, one in enumerate(self._editor.at(here) or ())}
        for disk in self._facts.disks:
            if disk.name not in places:
                self._append_disk(disk_entry(disk))
                continue
            path: Path = ("disks", places[disk.name])
            stated = self._editor.at((*self._at, *path))
            if disk.size is not None and not _is_near(_bytes(stated.get("size")), disk.size, _SAME_SIZE):
                self._assign((*path, "size"), disk_entry(disk)["size"], stated.get("size"), f"size of {disk.name}")
            if disk.medium is not None and stated.get("medium") != disk.medium:
                self._assign((*path, "medium"), disk.medium, stated.get("medium"), f"medium of {disk.name}")
        for name in places.keys() - {disk.name for disk in self._facts.disks}:
            self.notes.append(f"the drive {name} was not found on this machine; it stays in the file")

    def _append_disk(self, entry: dict[str, Any]) -> None:  # plain YAML
        if self._editor.at((*self._at, "disks")):
            self._editor.append((*self._at, "disks"), entry)
        else:
            self._assign(("disks",), [entry], None, "disks")

    def _gpus(self, find_gpu: FindGpu) -> None:
        here = (*self._at, "gpus")
        cards = self._facts.gpus
        if cards is None:
            self.notes.append(f"its GPUs stay as they are: {self._facts.gpus_unknown_because}")
        elif not self._editor.at(here):
            if cards or not self._editor.has(here):
                self._assign(("gpus",), [card_entry(card) for card in cards], None, "gpus")
        else:
            self.notes += merge_cards(self._editor, here, cards, find_gpu)

    def _found_at(self, path: Path) -> Any:  # plain YAML
        first, *others = path
        value: Any = self._found.get(str(first))
        for step in others:
            value = None if value is None else value.get(step)
        return value

    def _assign(self, path: Path, value: Any, stated: Any, name: str) -> None:  # plain YAML
        after = self._key_before(str(path[0])) if len(path) == 1 else None
        self._editor.assign((*self._at, *path), value, after=after)
        if stated is not None:
            self.notes.append(f"{name} was {stated}, is {value}")

    def _key_before(self, key: str) -> str | None:
        """Find the key of the node behind which another belongs."""
        present: list[str] = list(self._editor.at(self._at))
        return next((one for one in reversed(_ORDER[: _ORDER.index(key)]) if one in present), None)


def _words_of(text: str) -> Iterator[str]:
    return (word for word in "".join(one if one.isalnum() else " " for one in text.lower()).split())


def _is_same(stated: str, found: str) -> bool:
    first, second = set(_words_of(stated)), set(_words_of(found))
    return first <= second or second <= first


def _is_near(stated: int | None, found: int, tolerance: float) -> bool:
    return stated is not None and abs(stated - found) <= tolerance * max(stated, found)


def _bytes(value: Any) -> int | None:  # plain YAML
    try:
        return None if value is None else parse_bytes(value)
    except UnitError:
        return None
