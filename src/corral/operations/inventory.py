"""The inventory of this machine, in the words of a cluster file: printed as a section or a file, or merged into one."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, replace
from typing import ClassVar

from corral.cluster import Cluster
from corral.cluster.editing.editor import Editor
from corral.cluster.editing.nodes import Merged, find_nodes_like, merge_node
from corral.cluster.values import Disk
from corral.cluster.writing import InstalledGpu, MachineFacts, fit_name
from corral.errors import CorralError, Kind
from corral.hardware.catalogue import find_gpu, resolve_gpu
from corral.operations.cluster_file import FileText, check_cluster, read_cluster
from corral.planning.labels import list_label_changes
from corral.telemetry.inventory import Inventory
from corral.telemetry.kernel_gpus import MAKERS
from corral.telemetry.nvml import FoundGpu, GpuState, NvmlStatus, PcieLink


class NoSuchMachineError(CorralError):
    """No node of the file can be taken for this machine, or several can."""

    code: ClassVar[str] = "inventory.which_node"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeAsked:
    """A cluster file into which this machine is merged."""

    cluster: FileText
    node: str | None = None
    """The node that is this machine; null finds it by GPU, host name or address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """A cluster file with what was found merged into it, and not yet written."""

    name: str
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
            self.name,
            f"{self.name} (merged)",
            lineterm="",
        )
        return "\n".join(lines)


def collect_facts(inventory: Inventory) -> MachineFacts:
    """Put an inventory into the words of a cluster file; names of GPUs become the catalogue's."""
    gpus, because = _read_gpus(inventory)
    return MachineFacts(
        name=fit_name(inventory.hostname),
        address=inventory.address,
        addresses=(inventory.hostname, *inventory.addresses),
        os=inventory.os,
        cpu_model=inventory.cpu_model,
        cpu_cores=inventory.cpu_cores,
        memory=inventory.memory,
        memory_is_installed=inventory.memory_is_installed,
        psu_w=inventory.smbios.psu_w,
        disks=inventory.disks,
        gpus=gpus,
        gpus_unknown_because=because,
    )


def merge(asked: MergeAsked, facts: MachineFacts) -> Merge:
    """Merge what was found into a cluster file's node: the one named, else the one that is this machine.

    Raises: ClusterFileError, NoSuchMachineError, UneditableError.
    """
    opened = check_cluster(asked.cluster)
    editor = Editor(opened.text, filename=opened.name)
    chosen = asked.node or _find_this_machine(editor, facts, opened.name)
    merged = merge_node(editor, facts, node=chosen, find_gpu=find_gpu)
    after = read_cluster(merged.text, name=opened.name)  # what does not load is never written
    stale = _find_stale_labels(opened.cluster, after.cluster, chosen)
    return Merge(name=opened.name, before=opened.text, merged=replace(merged, notes=(*merged.notes, *stale)))


def _find_stale_labels(before: Cluster, after: Cluster, name: str) -> tuple[str, ...]:
    """Say which labels do not fit the GPUs any more; they are the user's, so they stay."""
    old, new = ({node.name: node for node in cluster.nodes}.get(name) for cluster in (before, after))
    if old is None or new is None or old.gpus == new.gpus:
        return ()
    return tuple(
        f"the label {change.key} stays {change.before or 'absent'}; the GPUs call for {change.after or 'none'}"
        for change in list_label_changes(old, new)
    )


def _find_this_machine(editor: Editor, facts: MachineFacts, file: str) -> str:
    names = find_nodes_like(editor, facts)
    if len(names) == 1:
        return names[0]
    if not names:
        what = f"no node of the file is called {facts.name!r}, has an address of this machine, or one of its GPUs"
    else:
        what = f"{len(names)} nodes of the file could be this machine: {', '.join(names)}"
    hint = "say which it is with `--node NAME`; a name that the file does not have is added"
    raise NoSuchMachineError(what, where=file, hint=hint)


def _read_gpus(inventory: Inventory) -> tuple[tuple[InstalledGpu, ...] | None, str | None]:
    """Return the GPUs, or why they are not known."""
    nvml = inventory.nvml
    if nvml.status is NvmlStatus.OK:
        return tuple(_read_gpu(gpu) for gpu in _list_gpus(inventory)), None
    if nvml.status is not NvmlStatus.NO_LIBRARY:
        return None, f"NVIDIA's driver says: {nvml.reason}"
    vendors = inventory.display_vendors
    if vendors is None:
        return None, "there is no NVIDIA driver, and no PCI bus to look at"
    if "0x10de" in vendors:
        return None, "a GPU of NVIDIA is here without its driver"
    driven = Counter(gpu.maker for gpu in inventory.other_gpus)
    if others := [maker for vendor, maker in MAKERS.items() if vendors.count(vendor) > driven[maker]]:
        return None, f"a GPU of {' and '.join(others)} is here without a driver that computes (amdgpu, xe, i915)"
    return tuple(_read_gpu(gpu) for gpu in _list_gpus(inventory)), None


def _list_gpus(inventory: Inventory) -> tuple[FoundGpu, ...]:
    """List the GPUs that are devices by themselves; integrated ones are not."""
    return (*inventory.nvml.gpus, *(gpu for gpu in inventory.other_gpus if not gpu.is_integrated))


def _read_gpu(gpu: FoundGpu) -> InstalledGpu:
    model = resolve_gpu(gpu.name, memory=gpu.memory_total)
    return InstalledGpu(
        index=gpu.index,
        uuid=gpu.uuid,
        model=None if model is None else model.name,
        driver_name=gpu.name,
        memory=gpu.memory_total,
        power_limit_w=_read_limit(gpu),
        power_range_w=gpu.power_limit_range_w,
        is_lost=gpu.state is not GpuState.OK,
    )


def _read_limit(gpu: FoundGpu) -> int | None:
    """Return the power limit that was set; None when it is the GPU's own, or when either is unknown."""
    if gpu.power_limit_w is None or gpu.power_limit_default_w is None:
        return None
    return None if round(gpu.power_limit_w) == round(gpu.power_limit_default_w) else round(gpu.power_limit_w)


# --- the answers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSystem:
    """An operating system."""

    id: str | None
    """The `ID` of /etc/os-release: `nixos`, `ubuntu`."""
    version: str | None
    kernel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProcessor:
    """A processor."""

    model: str | None
    cores: int | None
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMemory:
    """Main memory."""

    size: int
    is_installed: bool
    """Whether the board reports what is installed; otherwise it is what the kernel manages, a few per cent less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSupply:
    """A power supply."""

    watts: int | None
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDriver:
    """NVIDIA's driver."""

    status: NvmlStatus
    reason: str | None
    """Why it cannot be asked."""
    version: str | None
    cuda: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLimit:
    """The power limit of a GPU, in watts."""

    watts: float | None
    default: float | None
    min: float | None
    max: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLink:
    """The PCIe link of a GPU."""

    now: PcieLink | None
    best: PcieLink | None
    """The widest and fastest of GPU and slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoriedGpu:
    """A GPU as its driver describes it."""

    index: int
    maker: str
    pci_address: str | None
    """`0000:03:00.0`; only of AMD's and Intel's, which have no UUID."""
    state: GpuState
    problem: str | None
    model: str | None
    """Its name in the catalogue."""
    driver_name: str | None
    uuid: str | None
    memory: int | None
    cuda_capability: str | None
    power_limit: FoundLimit
    pcie: FoundLink


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryAnswer:
    """A machine's parts; null is unknown, and sizes are bytes."""

    node: str
    hostname: str
    address: str | None
    addresses: tuple[str, ...]
    os: FoundSystem
    cpu: FoundProcessor
    memory: FoundMemory
    disks: tuple[Disk, ...]
    psu: FoundSupply
    driver: FoundDriver
    gpus: tuple[InventoriedGpu, ...] | None
    gpus_unknown_because: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeAnswer:
    """The result of merging into a cluster file."""

    file: str
    node: str
    is_new: bool
    """Whether the node was added."""
    changed: bool
    written: bool
    """Whether the file was written; over HTTP it never is."""
    notes: tuple[str, ...]
    diff: str
    text: str
    """The file with the merge in it."""


def answer_inventory(inventory: Inventory, facts: MachineFacts) -> InventoryAnswer:
    """Return an inventory as doors show it to programs."""
    nvml, gpus = inventory.nvml, _list_gpus(inventory)
    models = {card.index: card.model for card in facts.gpus or ()}
    return InventoryAnswer(
        node=facts.name,
        hostname=inventory.hostname,
        address=inventory.address,
        addresses=inventory.addresses,
        os=FoundSystem(id=inventory.os, version=inventory.os_version, kernel=inventory.kernel),
        cpu=FoundProcessor(model=inventory.cpu_model, cores=inventory.cpu_cores, threads=inventory.cpu_threads),
        memory=FoundMemory(size=inventory.memory, is_installed=inventory.memory_is_installed),
        disks=inventory.disks,
        psu=FoundSupply(watts=inventory.smbios.psu_w, name=inventory.smbios.psu_name),
        driver=FoundDriver(
            status=nvml.status,
            reason=nvml.reason or None,
            version=nvml.driver_version,
            cuda=_format_version(nvml.cuda_version),
        ),
        gpus=None if facts.gpus is None else tuple(_answer_gpu(gpu, models[gpu.index]) for gpu in gpus),
        gpus_unknown_because=facts.gpus_unknown_because,
    )


def answer_merge(merge: Merge, *, is_written: bool) -> MergeAnswer:
    """Return a merge as doors show it to programs."""
    return MergeAnswer(
        file=merge.name,
        node=merge.merged.node,
        is_new=merge.merged.is_new,
        changed=merge.is_changed,
        written=is_written,
        notes=merge.merged.notes,
        diff=merge.diff(),
        text=merge.merged.text,
    )


def put_name(facts: MachineFacts, name: str | None) -> MachineFacts:
    """Return the facts of a machine under the name of a node."""
    return facts if name is None else replace(facts, name=fit_name(name))


def _answer_gpu(gpu: FoundGpu, model: str | None) -> InventoriedGpu:
    least, most = gpu.power_limit_range_w or (None, None)
    return InventoriedGpu(
        index=gpu.index,
        maker=gpu.maker,
        pci_address=gpu.pci,
        state=gpu.state,
        problem=gpu.problem,
        model=model,
        driver_name=gpu.name,
        uuid=gpu.uuid,
        memory=gpu.memory_total,
        cuda_capability=_format_version(gpu.cuda_capability),
        power_limit=FoundLimit(watts=gpu.power_limit_w, default=gpu.power_limit_default_w, min=least, max=most),
        pcie=FoundLink(now=gpu.pcie, best=gpu.pcie_best),
    )


def _format_version(parts: tuple[int, int] | None) -> str | None:
    return None if parts is None else f"{parts[0]}.{parts[1]}"
