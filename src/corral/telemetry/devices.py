"""The devices of this machine, from what the cluster file says and what was found; pure.

One device per working GPU. The processor takes tasks where there is no GPU, or where the file asks for it: a machine
whose GPUs are broken does not quietly compute on its processor, a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corral.cluster.values import Gpu, Node
from corral.errors import Problem
from corral.hardware.catalogue import list_matching
from corral.slots.values import DeviceSpec
from corral.telemetry.machine import Machine
from corral.telemetry.nvml import FoundGpu, GpuState
from corral.units import Bytes, format_bytes
from corral.work import SlotId

CPU_DEVICES = 2
"""Without a GPU, by default: two small models at once keep two cores busy, more only swap places in the cache."""
CPU_MEMORY_SHARE = 0.8
"""Of the memory, what tasks may use together; the rest is for the system, the database and the server."""
MEMORY_TOLERANCE = 0.1
"""A GPU shows a few per cent less memory than its box; a tenth less is another GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDevice:
    """A GPU of this machine, or a share of its processor."""

    spec: DeviceSpec
    threads: int
    """Processor threads for an engine on it, at least 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDevices:
    """The devices, and how the file and the machine disagree."""

    devices: tuple[LocalDevice, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _MatchedGpu:
    """A GPU to use: as found, and as the file describes it."""

    index: int
    uuid: str
    found: FoundGpu
    entry: Gpu | None


def list_local_devices(node: Node, gpus: Sequence[FoundGpu], machine: Machine) -> LocalDevices:
    """List the devices of `node`, which is this machine; `gpus` and `machine` are what was found on it."""
    matched, problems = _match_gpus(node, gpus)
    shares = _count_cpu_devices(node, gpus, machine)
    threads = max(1, machine.cpu_cores // max(1, len(matched) + shares))
    specs = (*(_make_gpu(node, gpu) for gpu in matched), *_make_cpus(node, shares, machine))
    devices = tuple(LocalDevice(spec=spec, threads=threads) for spec in specs)
    return LocalDevices(devices=devices, problems=tuple(problems))


def short_name(gpu: FoundGpu) -> str | None:
    """Give a GPU the name that people use, `RTX 5070 Ti`: the catalogue's, else the driver's without the maker."""
    if gpu.name is None:
        return None
    models = list_matching(gpu.name, memory=gpu.memory_total)
    return models[0].name if len(models) == 1 else gpu.name.removeprefix("NVIDIA ").removeprefix("GeForce ").strip()


def _match_gpus(node: Node, gpus: Sequence[FoundGpu]) -> tuple[list[_MatchedGpu], list[Problem]]:
    """Pair what the file lists with what was found; without a list, take all that was found."""
    pairs: list[tuple[Gpu | None, FoundGpu | None]]
    if node.gpus is None:
        pairs = [(None, found) for found in gpus]
    else:
        pairs = [(entry, _find_gpu(entry, gpus)) for entry in node.gpus]
    matched: list[_MatchedGpu] = []
    problems: list[Problem] = []
    for entry, found in pairs:
        gpu = _match_gpu(node, entry, found, len(gpus))
        if isinstance(gpu, Problem):
            problems.append(gpu)
            continue
        matched.append(gpu)
        problems += _list_differences(node, gpu)
    return matched, problems


def _find_gpu(entry: Gpu, gpus: Sequence[FoundGpu]) -> FoundGpu | None:
    if entry.uuid is not None:
        return next((found for found in gpus if found.uuid == entry.uuid), None)
    return next((found for found in gpus if found.index == entry.index), None)


def _match_gpu(node: Node, entry: Gpu | None, found: FoundGpu | None, count: int) -> _MatchedGpu | Problem:
    if found is None:
        return _describe_absent(node, entry, count)
    if found.state is not GpuState.OK or found.uuid is None:
        return _describe_unusable(node, found)
    index = found.index if entry is None else entry.index
    return _MatchedGpu(index=index, uuid=found.uuid, found=found, entry=entry)


def _describe_absent(node: Node, entry: Gpu | None, count: int) -> Problem:
    which = "a GPU" if entry is None else f"GPU {entry.index}" + (f" ({entry.uuid})" if entry.uuid else "")
    return Problem(
        code="machine.gpu_absent",
        what=f"the cluster file lists {which} and {count} GPU{' was' if count == 1 else 's were'} found",
        where=f"nodes[{node.name}].gpus",
        hint="run `corral doctor` to see what the driver says, or take the GPU out of the cluster file",
    )


def _describe_unusable(node: Node, found: FoundGpu) -> Problem:
    fact = found.problem or "the driver gives no UUID for it"
    hint = "restart the machine, then run `corral doctor`; if it happens again, check the card's power and seat"
    return Problem(
        code=f"machine.gpu_{'lost' if found.state is GpuState.LOST else 'failed'}",
        what=f"GPU {found.index} cannot be used: {fact}",
        where=f"{node.name}/gpu{found.index}",
        hint=hint,
    )


def _list_differences(node: Node, gpu: _MatchedGpu) -> list[Problem]:
    """Report where a GPU is not what the file says; it is used as what it is."""
    where = f"nodes[{node.name}].gpus[{gpu.index}]"
    entry, found = gpu.entry, gpu.found
    problems: list[Problem] = []
    if entry is not None and entry.model and found.name and not _is_model(found, entry.model):
        fact = f"the cluster file says {entry.model!r} and the driver says {short_name(found)!r}"
        hint = f"write `model: {short_name(found)}`, or leave the model out"
        problems.append(Problem(code="machine.gpu_model_differs", what=fact, where=where, hint=hint))
    if entry is not None and entry.memory and found.memory_total and _is_less(found.memory_total, entry.memory):
        fact = f"the cluster file says {format_bytes(entry.memory)} and the card has {format_bytes(found.memory_total)}"
        hint = "correct the memory in the cluster file, or leave it out"
        problems.append(Problem(code="machine.gpu_memory_differs", what=fact, where=where, hint=hint))
    return problems


def _is_model(found: FoundGpu, name: str) -> bool:
    """Whether a GPU can be what the file calls it; a name can mean several models of the catalogue."""
    if name.casefold() in {(found.name or "").casefold(), (short_name(found) or "").casefold()}:
        return True
    return bool(set(list_matching(found.name or "", memory=found.memory_total)) & set(list_matching(name)))


def _is_less(found: int, wanted: int) -> bool:
    return found < wanted * (1 - MEMORY_TOLERANCE)


def _make_gpu(node: Node, gpu: _MatchedGpu) -> DeviceSpec:
    found, entry = gpu.found, gpu.entry
    return DeviceSpec(
        name=SlotId(f"{node.name}/gpu{gpu.index}"),
        node=node.name,
        provider=f"{node.name}/{gpu.uuid}",
        model=short_name(found) or (entry.model if entry else None) or "unknown",
        memory=found.memory_total,
        limit=entry.memory if entry else None,
        foreign=found.memory_used,
        visible=gpu.uuid,  # CUDA numbers GPUs otherwise than the driver does
    )


def _count_cpu_devices(node: Node, gpus: Sequence[FoundGpu], machine: Machine) -> int:
    if node.cpu_slots is not None:
        return node.cpu_slots
    if node.gpus or (node.gpus is None and gpus):
        return 0
    return min(CPU_DEVICES, machine.cpu_cores)


def _make_cpus(node: Node, count: int, machine: Machine) -> tuple[DeviceSpec, ...]:
    memory = machine.memory_total if node.memory is None else min(machine.memory_total, node.memory)
    share = Bytes(int(memory * CPU_MEMORY_SHARE) // max(1, count))
    names = [SlotId(f"{node.name}/cpu{index}") for index in range(count)]
    return tuple(DeviceSpec(name=name, node=node.name, provider=name, model="cpu", memory=share) for name in names)
