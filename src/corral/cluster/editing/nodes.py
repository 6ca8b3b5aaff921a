"""Edits of whole nodes: their section is brought up to date with the machine, and their labels are written.

A merge fills in and updates, and drops nothing. What the machine knows better (GPUs, processor, memory, drives) is
updated where it differs. What the user decides stays, with a note when the machine disagrees: power limits, the power
supply, the address. A GPU or drive that the machine does not show now can be lost, unplugged or disabled, so it stays
as well. A GPU is the one with its UUID; else the one with its index, unless that names another GPU that is here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corral.cluster.document import YamlPath
from corral.cluster.editing.editor import Editor
from corral.cluster.editing.spelling import round_size
from corral.cluster.gpu_facts import FindGpu
from corral.cluster.writing import InstalledGpu, MachineFacts, list_values, make_disk_entry, make_gpu_entry
from corral.errors import CorralError
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


def find_nodes_like(editor: Editor, facts: MachineFacts) -> tuple[str, ...]:
    """Name the nodes of a file that can be this machine: by UUID of a GPU, else by name or address."""
    nodes: list[dict[str, Any]] = editor.get(("nodes",)) or []  # plain YAML
    uuids = {gpu.uuid for gpu in facts.gpus or () if gpu.uuid}
    by_gpu = [node["name"] for node in nodes if any(gpu.get("uuid") in uuids for gpu in node.get("gpus") or ())]
    known = {facts.name, *facts.addresses}
    by_name = [node["name"] for node in nodes if node["name"] in known or node.get("address") in known]
    return tuple(dict.fromkeys(by_gpu or by_name))


def merge_node(editor: Editor, facts: MachineFacts, *, node: str, find_gpu: FindGpu) -> Merged:
    """Merge what was found into the node of this name; a node that the file does not have is added.

    The file must be one that loads. Raises: UneditableError.
    """
    names = [entry["name"] for entry in editor.get(("nodes",))]
    if node not in names:
        editor.append(("nodes",), _make_node(facts, node))
        return Merged(text=editor.finish(), node=node, is_new=True)
    merger = _Merger(editor, ("nodes", names.index(node)), facts)
    merger.merge(find_gpu)
    return Merged(text=editor.finish(), node=node, is_new=False, notes=tuple(merger.notes))


def _make_node(facts: MachineFacts, name: str) -> dict[str, Any]:  # plain YAML
    """Make the entry of a node in a file with others; without an address it would be the machine the file is on."""
    entry: dict[str, Any] = {"name": name, "address": facts.address or facts.name, **list_values(facts)}
    if facts.gpus is not None:
        entry["gpus"] = [make_gpu_entry(gpu) for gpu in facts.gpus]
    return {key: entry[key] for key in _ORDER if key in entry}


class _Merger:
    """Merges one node."""

    def __init__(self, editor: Editor, at: YamlPath, facts: MachineFacts) -> None:
        self.notes: list[str] = []
        self._editor = editor
        self._at = at
        self._facts = facts
        self._seen: dict[str, Any] = list_values(facts)  # plain YAML

    def merge(self, find_gpu: FindGpu) -> None:
        """Merge every part."""
        self._merge_address()
        self._merge_words(("os",))
        self._merge_gpus(find_gpu)
        self._merge_cpu()
        self._merge_memory()
        self._merge_psu()
        self._merge_disks()

    def _merge_address(self) -> None:
        stated = self._editor.get((*self._at, "address"))
        if stated is not None and stated not in {self._facts.name, *self._facts.addresses}:
            self.notes.append(f"the address stays {stated}; this machine has {', '.join(self._facts.addresses)}")

    def _merge_words(self, path: YamlPath) -> None:
        """Update a text, unless the file has the same in fewer or more words (`pop-os` for `pop`)."""
        seen = self._get_seen(path)
        stated = self._editor.get((*self._at, *path))
        if seen is not None and not (isinstance(stated, str) and _is_same(stated, seen)):
            self._assign(path, seen, stated, " ".join(map(str, path)))

    def _merge_cpu(self) -> None:
        stated, seen = self._editor.get((*self._at, "cpu")), self._seen.get("cpu")
        if not stated and seen:
            self._assign(("cpu",), seen, None, "cpu")
        elif seen:
            self._merge_words(("cpu", "model"))
            cores = self._facts.cpu_cores
            if cores is not None and cores != stated.get("cores"):
                self._assign(("cpu", "cores"), cores, stated.get("cores"), "cpu cores")

    def _merge_memory(self) -> None:
        stated = _read_bytes(self._editor.get((*self._at, "memory")))
        seen = self._facts.memory
        tolerance = _SAME_SIZE if self._facts.memory_is_installed else _SAME_MEMORY
        if seen is not None and not _is_near(stated, seen, tolerance):
            self._assign(("memory",), self._seen["memory"], self._editor.get((*self._at, "memory")), "memory")

    def _merge_psu(self) -> None:
        seen = self._facts.psu_w
        watts = self._editor.get((*self._at, "psu", "watts"))
        stated = None if watts is None else str(watts).rstrip(" W")
        if stated is None and seen is not None:
            self._assign(("psu",), {"watts": seen}, None, "psu")
        elif seen is not None and stated != str(seen):
            self.notes.append(f"the power supply stays {stated} W; the board has {seen} W")

    def _merge_disks(self) -> None:
        here = (*self._at, "disks")
        places: dict[str, int] = {entry["name"]: index for index, entry in enumerate(self._editor.get(here) or ())}
        for disk in self._facts.disks:
            if disk.name not in places:
                self._append_disk(make_disk_entry(disk))
                continue
            path: YamlPath = ("disks", places[disk.name])
            stated = self._editor.get((*self._at, *path))
            if disk.size is not None and not _is_near(_read_bytes(stated.get("size")), disk.size, _SAME_SIZE):
                self._assign((*path, "size"), make_disk_entry(disk)["size"], stated.get("size"), f"size of {disk.name}")
            if disk.medium is not None and stated.get("medium") != disk.medium:
                self._assign((*path, "medium"), disk.medium, stated.get("medium"), f"medium of {disk.name}")
        for name in places.keys() - {disk.name for disk in self._facts.disks}:
            self.notes.append(f"the drive {name} was not found on this machine; it stays in the file")

    def _append_disk(self, entry: dict[str, Any]) -> None:  # plain YAML
        if self._editor.get((*self._at, "disks")):
            self._editor.append((*self._at, "disks"), entry)
        else:
            self._assign(("disks",), [entry], None, "disks")

    def _merge_gpus(self, find_gpu: FindGpu) -> None:
        here = (*self._at, "gpus")
        gpus = self._facts.gpus
        if gpus is None:
            self.notes.append(f"its GPUs stay as they are: {self._facts.gpus_unknown_because}")
        elif not self._editor.get(here):
            if gpus or not self._editor.has(here):
                self._assign(("gpus",), [make_gpu_entry(gpu) for gpu in gpus], None, "gpus")
        else:
            self.notes += merge_gpus(self._editor, here, gpus, find_gpu)

    def _get_seen(self, path: YamlPath) -> Any:  # plain YAML
        first, *others = path
        value: Any = self._seen.get(str(first))
        for step in others:
            value = None if value is None else value.get(step)
        return value

    def _assign(self, path: YamlPath, value: Any, stated: Any, name: str) -> None:  # plain YAML
        after = self._find_key_before(str(path[0])) if len(path) == 1 else None
        self._editor.assign((*self._at, *path), value, after=after)
        if stated is not None:
            self.notes.append(f"{name} was {stated}, is {value}")

    def _find_key_before(self, key: str) -> str | None:
        """Find the key of the node behind which another belongs."""
        present: list[str] = list(self._editor.get(self._at))
        return next((before for before in reversed(_ORDER[: _ORDER.index(key)]) if before in present), None)


def _split_words(text: str) -> Iterator[str]:
    return (word for word in "".join(letter if letter.isalnum() else " " for letter in text.lower()).split())


def _is_same(stated: str, seen: str) -> bool:
    first, second = set(_split_words(stated)), set(_split_words(seen))
    return first <= second or second <= first


def _is_near(stated: int | None, seen: int, tolerance: float) -> bool:
    return stated is not None and abs(stated - seen) <= tolerance * max(stated, seen)


def _read_bytes(value: Any) -> int | None:  # plain YAML
    try:
        return None if value is None else parse_bytes(value)
    except UnitError:
        return None


def merge_gpus(editor: Editor, at: YamlPath, gpus: tuple[InstalledGpu, ...], find_gpu: FindGpu) -> list[str]:
    """Update the list of GPUs at a path; return what the user should know."""
    entries: list[dict[str, Any]] = [dict(entry) for entry in editor.get(at)]  # plain YAML
    matched = _match_gpus(entries, gpus)
    notes: list[str] = []
    for number, entry in enumerate(entries):
        gpu = matched.get(number)
        if gpu is None:
            index = entry.get("index", number)
            notes.append(f"GPU {index} ({entry.get('model', 'no model')}) was not found; it stays in the file")
        else:
            notes += _update_gpu(editor, (*at, number), entry, gpu, find_gpu)
    taken = {gpu.index for gpu in matched.values()}
    for gpu in gpus:
        if gpu.index not in taken:
            editor.append(at, make_gpu_entry(gpu))
            notes.append(f"GPU {gpu.index} ({gpu.model or gpu.driver_name or 'unknown'}) was added")
    return notes


def _match_gpus(entries: list[dict[str, Any]], gpus: tuple[InstalledGpu, ...]) -> dict[int, InstalledGpu]:  # plain YAML
    by_uuid = {gpu.uuid: gpu for gpu in gpus if gpu.uuid is not None}
    matched = {number: by_uuid[entry["uuid"]] for number, entry in enumerate(entries) if entry.get("uuid") in by_uuid}
    taken = {gpu.index for gpu in matched.values()}
    by_index = {gpu.index: gpu for gpu in gpus if gpu.index not in taken}
    for number, entry in enumerate(entries):
        index = entry.get("index", number)
        if number not in matched and index in by_index:
            matched[number] = by_index.pop(index)
    return matched


def _update_gpu(
    editor: Editor,
    at: YamlPath,
    entry: dict[str, Any],  # plain YAML
    gpu: InstalledGpu,
    find_gpu: FindGpu,
) -> list[str]:
    name = f"GPU {gpu.index}"
    notes = [f"{name} is lost; it stays in the file"] if gpu.is_lost else []
    if gpu.model is not None and not _is_model(entry, gpu, find_gpu):
        notes += [f"{name} was {entry['model']}, is {gpu.model}"] if "model" in entry else []
        editor.assign((*at, "model"), gpu.model)
        if "memory" in entry:
            editor.remove((*at, "memory"))
    if gpu.uuid is not None and entry.get("uuid") != gpu.uuid:
        notes += [f"{name} is another GPU: its UUID was {entry['uuid']}"] if "uuid" in entry else []
        editor.assign((*at, "uuid"), gpu.uuid, after="index" if "index" in entry else "model")
    if gpu.model is None and gpu.memory is not None and not {"model", "memory"} & entry.keys():
        editor.assign((*at, "memory"), round_size(gpu.memory))
    *_, number = at
    if entry.get("index", number) != gpu.index:
        notes.append(f"GPU {entry.get('index', number)} is {name} now; queues and layouts can still name the old index")
        editor.assign((*at, "index"), gpu.index, after="model")
    if "powerLimit" in entry:
        return notes + _note_limit(int(str(entry["powerLimit"]).rstrip(" W")), gpu)
    if gpu.power_limit_w is not None:
        editor.assign((*at, "powerLimit"), gpu.power_limit_w)
    return notes


def _note_limit(stated_w: int, gpu: InstalledGpu) -> list[str]:
    """Note where the limit in the file, which stays, is not the GPU's, or cannot be."""
    name = f"GPU {gpu.index}"
    if gpu.power_range_w is not None and not gpu.power_range_w[0] <= stated_w <= gpu.power_range_w[1]:
        least, most = gpu.power_range_w
        return [f"{name} refuses the power limit of {stated_w} W in the file; it takes {least:g} W to {most:g} W"]
    if gpu.is_lost or stated_w == gpu.power_limit_w:
        return []
    now = "its own" if gpu.power_limit_w is None else f"{gpu.power_limit_w} W"
    return [f"the power limit of {name} stays {stated_w} W in the file; on the GPU it is {now}"]


def _is_model(entry: dict[str, Any], gpu: InstalledGpu, find_gpu: FindGpu) -> bool:  # plain YAML
    """Whether the file names this GPU's model, in whatever spelling."""
    if "model" not in entry:
        return False
    try:
        model = find_gpu(entry["model"], memory=gpu.memory)
    except CorralError:
        return False
    return not isinstance(model, tuple) and model.name == gpu.model


_LIKE = (("gpu-class", "gpu-classes"), ("gpu-count", "gpu-class", "gpu-classes"), ("homogeneous", "gpu-count"))
"""By the last part of a key: behind which others it belongs."""


def write_labels(editor: Editor, changes: Mapping[tuple[str, str], str | None]) -> None:
    """Set labels by node and key; None removes. A `gpu-classes` that gives way to `gpu-class` keeps its line."""
    places = {node["name"]: index for index, node in enumerate(editor.get(("nodes",)))}
    by_node: dict[str, dict[str, str | None]] = {}
    for (node, key), value in changes.items():
        by_node.setdefault(node, {})[key] = value
    for node, labels in by_node.items():
        _write_labels(editor, ("nodes", places[node], "labels"), labels)


def write_removed_labels(editor: Editor, removals: Mapping[str, Sequence[str]]) -> None:
    """Set the labels that nodes must lose, by node; none takes the key out."""
    for index, node in enumerate(editor.get(("nodes",))):
        at = ("nodes", index, "removedLabels")
        keys = removals.get(node["name"])
        if keys:
            editor.assign(at, list(keys), after="labels" if "labels" in node else None)
        elif keys is not None and editor.has(at):
            editor.remove(at)


def _write_labels(editor: Editor, at: YamlPath, changes: dict[str, str | None]) -> None:
    _rename_class(editor, at, changes)
    for key, value in changes.items():
        if value is not None:
            editor.assign((*at, key), value, after=_find_sibling(key, list(editor.get(at) or {})))
    for key, value in changes.items():
        if value is None and editor.has((*at, key)):
            editor.remove((*at, key))


def _rename_class(editor: Editor, at: YamlPath, changes: Mapping[str, str | None]) -> None:
    for old, value in changes.items():
        prefix, slash, name = old.partition("/")
        new = prefix + slash + {"gpu-class": "gpu-classes", "gpu-classes": "gpu-class"}.get(name, "")
        if value is None and changes.get(new) is not None and editor.has((*at, old)):
            editor.rename((*at, old), new)


def _find_sibling(key: str, present: Sequence[str]) -> str | None:
    """Find the key behind which a new one belongs; None when there is none like it."""
    prefix, slash, name = key.partition("/")
    if name.startswith("has-"):
        return next((sibling for sibling in reversed(present) if sibling.startswith(f"{prefix}{slash}has-")), None)
    for own, *others in _LIKE:
        for other in others if own == name else ():
            if prefix + slash + other in present:
                return prefix + slash + other
    return None
