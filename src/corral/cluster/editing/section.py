"""Writes the section of a node as it was found, with comments where the machine does not say something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from corral.cluster.editing import spelling
from corral.cluster.editing.facts import CardFacts, NodeFacts
from corral.cluster.values import Disk

_DASH, _KEYS, _ITEMS = 2, 4, 6
"""Columns: of the node's dash, of its keys, of the dashes of its lists."""


def write_section(facts: NodeFacts) -> str:
    """Write the section, indented to stand under `nodes:`; without a line break at its end."""
    return "\n".join(_lines(facts))


def card_entry(card: CardFacts) -> dict[str, Any]:  # plain YAML
    """Make the entry of a card; the catalogue knows the memory of a model, so it is written without one only."""
    entry: dict[str, Any] = {"model": card.model} if card.model else {}
    entry["index"] = card.index
    if card.model is None and card.memory is not None:
        entry["memory"] = spelling.near_size(card.memory)
    if card.uuid is not None:
        entry["uuid"] = card.uuid
    if card.power_limit_w is not None:
        entry["powerLimit"] = card.power_limit_w
    return entry


def disk_entry(disk: Disk) -> dict[str, Any]:  # plain YAML
    """Make the entry of a drive."""
    size = None if disk.size is None else spelling.near_size(disk.size)
    return {key: value for key, value in (("name", disk.name), ("size", size), ("medium", disk.medium)) if value}


def values_of(facts: NodeFacts) -> dict[str, Any]:  # plain YAML
    """Make the keys of a node besides its name, address and GPUs; what is unknown is left out."""
    cpu = {"model": facts.cpu_model, "cores": facts.cpu_cores}
    values: dict[str, Any] = {
        "os": facts.os,
        "cpu": {key: value for key, value in cpu.items() if value is not None},
        "memory": None if facts.memory is None else spelling.near_size(facts.memory),
        "psu": None if facts.psu_w is None else {"watts": facts.psu_w},
        "disks": [disk_entry(disk) for disk in facts.disks],
    }
    return {key: value for key, value in values.items() if value}


def _lines(facts: NodeFacts) -> Iterator[str]:
    values = values_of(facts)
    yield f"{' ' * _DASH}- name: {spelling.scalar(facts.name)} # this machine"
    if "os" in values:
        yield from spelling.pair("os", values["os"], _KEYS)
    yield from _gpu_lines(facts)
    for key in ("cpu", "memory", "psu", "disks"):
        if key in values:
            yield from spelling.pair(key, values[key], _KEYS)
    if facts.psu_w is None:
        yield f"{' ' * _KEYS}# left open: psu: {{watts: ...}}, since the board does not tell"


def _gpu_lines(facts: NodeFacts) -> Iterator[str]:
    if facts.gpus is None:
        yield f"{' ' * _KEYS}# left open: gpus, since {facts.gpus_unknown_because or 'the driver could not be asked'}"
        return
    if not facts.gpus:
        yield f"{' ' * _KEYS}gpus: []"
        return
    yield f"{' ' * _KEYS}gpus:"
    for card in facts.gpus:
        comment = _comment(card)
        yield f"{' ' * _ITEMS}- {spelling.flow(card_entry(card))}" + (f" # {comment}" if comment else "")


def _comment(card: CardFacts) -> str:
    """Say what the entry cannot: that a card is lost, or that the catalogue does not know it."""
    said = ["lost: it does not answer the driver"] if card.is_lost else []
    if card.model is None:
        name = "has no name from the driver" if card.driver_name is None else f"is `{_one_line(card.driver_name)}`"
        said.append(f"{name}, which the catalogue does not resolve" if card.driver_name else name)
    return "; ".join(said)


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:100]
