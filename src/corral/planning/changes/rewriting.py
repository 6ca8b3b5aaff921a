"""Writes the cards of the changed nodes into the text, entry by entry, so that what stays keeps its line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corral.cluster.document import Path
from corral.cluster.editing import spelling
from corral.cluster.editing.editor import Editor
from corral.cluster.values import Cluster, Gpu
from corral.planning.changes.cards import Arrangement, Card, Fate
from corral.planning.changes.values import AddNode, GpuAddress
from corral.planning.changes.wanted import Wanted

_OF_THE_OLD_CARD = ("memory", "uuid", "powerLimit")
Told = list[tuple[str, Path]]
"""What was changed besides what was asked: a fact, and where."""


def rewrite(editor: Editor, before: Cluster, wanted: Wanted, arrangement: Arrangement) -> Told:
    """Write new nodes, cards, power limits, power supplies and memory; return what else was changed for them."""
    told: Told = []
    for node in wanted.nodes.values():
        editor.append(("nodes",), _new_node(node))
    at: dict[str, Path] = {node["name"]: ("nodes", place) for place, node in enumerate(editor.at(("nodes",)))}
    entries = _entries(editor, before, at)
    gpus = {GpuAddress(node=node.name, index=gpu.index): gpu for node in before.nodes for gpu in node.gpus or ()}
    for name, cards in arrangement.items():
        _Node(editor, at[name], told).write(cards, entries, gpus, wanted)
    for psu in wanted.psus.values():
        editor.assign((*at[psu.node], "psu", "watts"), psu.watts)
    for memory in wanted.memories.values():
        editor.assign((*at[memory.node], "memory"), spelling.size(memory.memory))
    return told


def _new_node(node: AddNode) -> Mapping[str, Any]:  # plain YAML
    entry: dict[str, Any] = {"name": node.name, "gpus": []}
    if node.psu_w is not None:
        entry["psu"] = {"watts": node.psu_w}
    if node.memory is not None:
        entry["memory"] = spelling.size(node.memory)
    return entry


def _entries(editor: Editor, before: Cluster, at: Mapping[str, Path]) -> Mapping[GpuAddress, tuple[int, Any]]:
    """Find the place and the plain values of every card before anything is written."""
    return {
        GpuAddress(node=node.name, index=gpu.index): (place, dict(editor.at((*at[node.name], "gpus", place))))
        for node in before.nodes
        for place, gpu in enumerate(node.gpus or ())
    }


class _Node:
    """Writes the cards of one node."""

    def __init__(self, editor: Editor, at: Path, told: Told) -> None:
        self._editor = editor
        self._at: Path = (*at, "gpus")
        self._told = told

    def write(
        self,
        cards: tuple[Card, ...],
        entries: Mapping[GpuAddress, tuple[int, Any]],  # plain YAML
        gpus: Mapping[GpuAddress, Gpu],
        wanted: Wanted,
    ) -> None:
        had = len(self._editor.at(self._at) or ())
        for card in cards:
            if card.fate is Fate.REPLACED and card.origin is not None:
                self._replace((*self._at, entries[card.origin][0]), card, gpus[card.origin])
        is_numbered = any("index" in one for one in self._editor.at(self._at) or ())
        for card in cards:
            if card.fate in (Fate.MOVED, Fate.ADDED):
                moved: Mapping[str, Any] = entries[card.origin][1] if card.origin is not None else {}
                self._append(card, moved, is_numbered=is_numbered)
        staying = {entries[card.origin][0] for card in cards if card.origin and card.fate in (Fate.KEPT, Fate.REPLACED)}
        for place in reversed([place for place in range(had) if place not in staying]):
            self._editor.remove((*self._at, place))
        for place, card in enumerate(cards):
            self._number(place, card)
            self._limit(place, card, wanted)

    def _replace(self, at: Path, card: Card, old: Gpu) -> None:
        self._editor.assign((*at, "model"), card.model)
        for key in _OF_THE_OLD_CARD:
            if not self._editor.has((*at, key)):
                continue
            self._editor.remove((*at, key))
            if key == "powerLimit":
                self._told.append((f"the power limit of {old.power_limit_w} W was the old card's and is gone", at))

    def _append(self, card: Card, moved: Mapping[str, Any], *, is_numbered: bool) -> None:  # plain YAML
        entry: dict[str, Any] = {"model": card.model} if card.model else {}
        if is_numbered:
            entry["index"] = card.at.index
        entry |= {key: value for key, value in moved.items() if key != "index"}
        if "model" in entry:
            entry = {"model": entry["model"], **entry}
        self._editor.append(self._at, entry)
        place = len(self._editor.at(self._at)) - 1
        what = f"the card is taken to be GPU {card.at.index} of its node; once it is in, `corral inventory` tells"
        self._told.append((what, (*self._at, place)))

    def _number(self, place: int, card: Card) -> None:
        """Write the index of a card where its entry states another, or where its place would say another."""
        at = (*self._at, place)
        stated = self._editor.at((*at, "index"))
        if (place if stated is None else stated) != card.at.index:
            self._editor.assign((*at, "index"), card.at.index, after="model")
        if card.fate is Fate.KEPT and card.origin != card.at:
            self._told.append((f"{card.origin} becomes {card.at}: the driver numbers cards without gaps", at))

    def _limit(self, place: int, card: Card, wanted: Wanted) -> None:
        own = wanted.limits.get((card.called.node, card.called.index))
        limit = own or wanted.limits.get((card.at.node, None))
        if limit is not None:
            self._editor.assign((*self._at, place, "powerLimit"), limit.watts)
