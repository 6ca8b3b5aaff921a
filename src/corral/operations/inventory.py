"""What this machine is, in the words of a cluster file: printed as a section or a file, or merged into one."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from corral.cluster import Cluster
from corral.cluster.editing.editor import Editor
from corral.cluster.editing.facts import CardFacts, NodeFacts
from corral.cluster.editing.merging import Merged, merge_node, nodes_like
from corral.cluster.write import fitted
from corral.errors import CorralError, Kind
from corral.hardware.catalogue import GpuModel, find_gpu
from corral.operations.cluster_file import open_cluster, read_cluster
from corral.planning.labels import label_changes
from corral.telemetry.inventory.values import Inventory
from corral.telemetry.nvml import FoundGpu, GpuState, NvmlStatus

_OTHER_MAKERS = {"0x1002": "AMD", "0x8086": "Intel"}


class NoSuchMachineError(CorralError):
    """No node of the file can be taken for this machine, or several can."""

    code: ClassVar[str] = "inventory.which_node"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """A cluster file with what was found merged into it, and not yet written."""

    path: Path
    before: str
    merged: Merged

    @property
    def is_changed(self) -> bool:
        return self.before != self.merged.text

    def diff(self) -> str:
        """Show what changes, as `diff -u` does; empty when nothing does."""
        lines = difflib.unified_diff(
            self.before.splitlines(),
            self.merged.text.splitlines(),
            str(self.path),
            f"{self.path} (merged)",
            lineterm="",
        )
        return "\n".join(lines)


def facts_of(inventory: Inventory) -> NodeFacts:
    """Put an inventory into the words of a cluster file; names of GPUs become the catalogue's."""
    gpus, because = _cards(inventory)
    return NodeFacts(
        name=fitted(inventory.hostname),
        address=inventory.address,
        addresses=(inventory.hostname, *inventory.addresses),
        os=inventory.os,
        cpu_model=inventory.cpu_model,
        cpu_cores=inventory.cpu_cores,
        memory=inventory.memory,
        memory_is_installed=inventory.memory_is_installed,
        psu_w=inventory.board.psu_w,
        disks=inventory.disks,
        gpus=gpus,
        gpus_unknown_because=because,
    )


def resolve(gpu: FoundGpu) -> GpuModel | None:
    """Find a card in the catalogue, by the driver's name and its memory; None when it is not there, or not clear."""
    try:
        found = None if gpu.name is None else find_gpu(gpu.name, memory=gpu.memory_total)
    except CorralError:
        return None
    return found if isinstance(found, GpuModel) else None


def merge(path: Path, facts: NodeFacts, *, node: str | None) -> Merge:
    """Merge what was found into a cluster file's node: the one named, else the one that is this machine.

    Raises: UnreadableClusterFileError, ClusterFileError, NoSuchMachineError, UneditableError.
    """
    opened = open_cluster(path)
    editor = Editor(opened.text, filename=opened.name)
    chosen = node or _this_machine(editor, facts, path)
    merged = merge_node(editor, facts, node=chosen, find_gpu=find_gpu)
    after = read_cluster(merged.text, name=opened.name)  # what does not load is never written
    stale = _stale_labels(opened.cluster, after.cluster, chosen)
    return Merge(path=path, before=opened.text, merged=replace(merged, notes=(*merged.notes, *stale)))


def _stale_labels(before: Cluster, after: Cluster, name: str) -> tuple[str, ...]:
    """Say which labels do not fit the cards any more; they are the user's, so they stay."""
    old, new = ({node.name: node for node in cluster.nodes}.get(name) for cluster in (before, after))
    if old is None or new is None or old.gpus == new.gpus:
        return ()
    return tuple(
        f"the label {change.key} stays {change.before or 'absent'}; the cards call for {change.after or 'none'}"
        for change in label_changes(old, new)
    )


def _this_machine(editor: Editor, facts: NodeFacts, path: Path) -> str:
    names = nodes_like(editor, facts)
    if len(names) == 1:
        return names[0]
    if not names:
        what = f"no node of the file is called {facts.name!r}, has an address of this machine, or one of its cards"
    else:
        what = f"{len(names)} nodes of the file may be this machine: {', '.join(names)}"
    hint = "say which it is with `--node NAME`; a name that the file does not have is added"
    raise NoSuchMachineError(what, where=str(path), hint=hint)


def _cards(inventory: Inventory) -> tuple[tuple[CardFacts, ...] | None, str | None]:
    """Return the cards, or why they are not known."""
    nvml = inventory.nvml
    if nvml.status is NvmlStatus.OK:
        return tuple(_card(gpu) for gpu in nvml.gpus), None
    if nvml.status is not NvmlStatus.NO_LIBRARY:
        return None, f"NVIDIA's driver says: {nvml.reason}"
    vendors = inventory.display_vendors
    if vendors is None:
        return None, "there is no NVIDIA driver, and no PCI bus to look at"
    if "0x10de" in vendors:
        return None, "a card of NVIDIA is here without its driver"
    if others := [maker for vendor, maker in _OTHER_MAKERS.items() if vendor in vendors]:
        return None, f"only NVIDIA's driver is asked, and this machine has graphics of {' and '.join(others)}"
    return (), None


def _card(gpu: FoundGpu) -> CardFacts:
    model = resolve(gpu)
    return CardFacts(
        index=gpu.index,
        uuid=gpu.uuid,
        model=None if model is None else model.name,
        driver_name=gpu.name,
        memory=gpu.memory_total,
        power_limit_w=_limit(gpu),
        power_range_w=gpu.power_limit_range_w,
        is_lost=gpu.state is not GpuState.OK,
    )


def _limit(gpu: FoundGpu) -> int | None:
    """Return the power limit that somebody set; None when it is the card's own, or when either is unknown."""
    if gpu.power_limit_w is None or gpu.power_limit_default_w is None:
        return None
    return None if round(gpu.power_limit_w) == round(gpu.power_limit_default_w) else round(gpu.power_limit_w)
