"""The devices of this machine, from the cluster file and the GPUs that were found; pure.

One device per working GPU. The processor takes tasks where there is no GPU, or where the file asks for it: a machine
whose GPUs are broken does not quietly compute on its processor, a hundred times slower. Where all
GPUs are of AMD or Intel, it takes the tasks of engines that compute on NVIDIA's only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corral.cluster.values import Gpu, Node
from corral.errors import Problem
from corral.hardware.catalogue import list_matching
from corral.hardware.makers import NVIDIA
from corral.slots.values import DeviceSpec
from corral.telemetry.machine import Machine
from corral.telemetry.nvml import FoundGpu, GpuState
from corral.units import Bytes, format_bytes
from corral.work import SlotId

CPU_DEVICES = 2
"""Without a GPU, by default: two small models at once keep two cores busy, more only swap places in the cache."""
CPU_MEMORY_SHARE = 0.8
"""Of the memory, the share that tasks can use together; the rest is for the system, the database and the server."""
MEMORY_TOLERANCE = 0.1
"""A GPU shows a few per cent less memory than its box; a tenth less is another GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDevice:
    """A GPU of this machine, or a share of its processor."""

    spec: DeviceSpec
    threads: int
    """Processor threads for an engine on it, at least 1."""
    maker: str | None = None
    """Of the GPU; None on a processor."""
    fills_in: bool = False
    """Whether it is a processor for engines that cannot use the machine's GPUs, and the file does not ask for it."""

    def suits(self, *, any_gpu: bool) -> bool:
        """Whether an engine that computes on any maker's GPU, or on NVIDIA's alone, has a slot on it."""
        if self.fills_in:
            return not any_gpu
        return any_gpu or self.maker in (None, NVIDIA)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDevices:
    """The devices, and how the file and the machine disagree."""

    devices: tuple[LocalDevice, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _MatchedGpu:
    """A GPU to use: as the driver reports it, and as the file describes it."""

    index: int
    identity: str
    gpu: FoundGpu
    entry: Gpu | None


def list_local_devices(node: Node, gpus: Sequence[FoundGpu], machine: Machine) -> LocalDevices:
    """List the devices of `node`, which is this machine; `gpus` and `machine` are what was found on it."""
    matched, problems = _match_gpus(node, gpus)
    shares = _count_cpu_devices(node, gpus, machine)
    threads = max(1, machine.cpu_cores // max(1, len(matched) + shares))
    fills_in = node.cpu_slots is None and _has_others_alone(node, gpus)
    devices = (
        *(LocalDevice(spec=_make_gpu(node, match), threads=threads, maker=match.gpu.maker) for match in matched),
        *(LocalDevice(spec=spec, threads=threads, fills_in=fills_in) for spec in _make_cpus(node, shares, machine)),
    )
    return LocalDevices(devices=devices, problems=tuple(problems))


def short_name(gpu: FoundGpu) -> str | None:
    """Give a GPU the name that people use, `RTX 5070 Ti`: the catalogue's, else the driver's without the maker."""
    if gpu.name is None:
        return None
    models = list_matching(gpu.name, memory=gpu.memory_total)
    if len(models) == 1:
        return models[0].name
    return gpu.name.removeprefix(f"{gpu.maker} ").removeprefix("GeForce ").strip()


def _match_gpus(node: Node, gpus: Sequence[FoundGpu]) -> tuple[list[_MatchedGpu], list[Problem]]:
    """Pair what the file lists with what was found; without a list, take all that was found."""
    pairs: list[tuple[Gpu | None, FoundGpu | None]]
    if node.gpus is None:
        pairs = [(None, gpu) for gpu in gpus if not gpu.is_integrated]
    else:
        pairs = [(entry, _find_gpu(entry, gpus)) for entry in node.gpus]
    matched: list[_MatchedGpu] = []
    problems: list[Problem] = []
    for entry, gpu in pairs:
        match = _match_gpu(node, entry, gpu, len(gpus))
        if isinstance(match, Problem):
            problems.append(match)
            continue
        matched.append(match)
        problems += _list_differences(node, match)
    return matched, problems


def _find_gpu(entry: Gpu, gpus: Sequence[FoundGpu]) -> FoundGpu | None:
    if entry.uuid is not None:
        return next((gpu for gpu in gpus if gpu.uuid == entry.uuid), None)
    return next((gpu for gpu in gpus if gpu.index == entry.index), None)


def _match_gpu(node: Node, entry: Gpu | None, gpu: FoundGpu | None, count: int) -> _MatchedGpu | Problem:
    if gpu is None:
        return _describe_absent(node, entry, count)
    if gpu.state is not GpuState.OK or gpu.identity is None:
        return _describe_unusable(node, gpu)
    index = gpu.index if entry is None else entry.index
    return _MatchedGpu(index=index, identity=gpu.identity, gpu=gpu, entry=entry)


def _describe_absent(node: Node, entry: Gpu | None, count: int) -> Problem:
    which = "a GPU" if entry is None else f"GPU {entry.index}" + (f" ({entry.uuid})" if entry.uuid else "")
    return Problem(
        code="machine.gpu_absent",
        what=f"the cluster file lists {which} and {count} GPU{' was' if count == 1 else 's were'} found",
        where=f"nodes[{node.name}].gpus",
        hint="run `corral doctor` to see what the driver reports, or take the GPU out of the cluster file",
    )


def _describe_unusable(node: Node, gpu: FoundGpu) -> Problem:
    fact = gpu.problem or "the driver gives no UUID for it"
    hint = "restart the machine, then run `corral doctor`; if it happens again, check the GPU's power cable and slot"
    return Problem(
        code=f"machine.gpu_{'lost' if gpu.state is GpuState.LOST else 'failed'}",
        what=f"GPU {gpu.index} cannot be used: {fact}",
        where=f"{node.name}/gpu{gpu.index}",
        hint=hint,
    )


def _list_differences(node: Node, match: _MatchedGpu) -> list[Problem]:
    """Report where a GPU differs from the file; it is used as it was found."""
    where = f"nodes[{node.name}].gpus[{match.index}]"
    entry, gpu = match.entry, match.gpu
    problems: list[Problem] = []
    if entry is not None and entry.model and gpu.name and not _is_model(gpu, entry.model):
        fact = f"the cluster file says {entry.model!r} and the driver says {short_name(gpu)!r}"
        hint = f"write `model: {short_name(gpu)}`, or leave the model out"
        problems.append(Problem(code="machine.gpu_model_differs", what=fact, where=where, hint=hint))
    if entry is not None and entry.memory and gpu.memory_total and _is_less(gpu.memory_total, entry.memory):
        fact = f"the cluster file says {format_bytes(entry.memory)} and the GPU has {format_bytes(gpu.memory_total)}"
        hint = "correct the memory in the cluster file, or leave it out"
        problems.append(Problem(code="machine.gpu_memory_differs", what=fact, where=where, hint=hint))
    return problems


def _is_model(gpu: FoundGpu, name: str) -> bool:
    """Whether a GPU can be what the file calls it; a name can mean several models of the catalogue."""
    if name.casefold() in {(gpu.name or "").casefold(), (short_name(gpu) or "").casefold()}:
        return True
    return bool(set(list_matching(gpu.name or "", memory=gpu.memory_total)) & set(list_matching(name)))


def _is_less(size: int, wanted: int) -> bool:
    return size < wanted * (1 - MEMORY_TOLERANCE)


def _choose_model(match: _MatchedGpu) -> str:
    """Name a GPU as it was found, or as the file does where its PCI id stands for several models, and this is one."""
    gpu, wanted = match.gpu, match.entry.model if match.entry else None
    if wanted and gpu.name and gpu.maker != NVIDIA and _is_model(gpu, wanted):
        return wanted
    return short_name(gpu) or wanted or "unknown"


def _make_gpu(node: Node, match: _MatchedGpu) -> DeviceSpec:
    gpu, entry = match.gpu, match.entry
    return DeviceSpec(
        name=SlotId(f"{node.name}/gpu{match.index}"),
        node=node.name,
        provider=f"{node.name}/{match.identity}",
        model=_choose_model(match),
        memory=gpu.memory_total,
        limit=entry.memory if entry else None,
        foreign=gpu.memory_used,
        hours=node.find_hours(entry),
        visible=match.identity,  # CUDA numbers GPUs otherwise than the driver does
    )


def _count_cpu_devices(node: Node, gpus: Sequence[FoundGpu], machine: Machine) -> int:
    if node.cpu_slots is not None:
        return node.cpu_slots
    used = [gpu for gpu in gpus if not gpu.is_integrated]
    if (node.gpus or (node.gpus is None and used)) and not _has_others_alone(node, gpus):
        return 0
    return min(CPU_DEVICES, machine.cpu_cores)


def _has_others_alone(node: Node, gpus: Sequence[FoundGpu]) -> bool:
    """Whether the node's GPUs were found, and all are of AMD or Intel."""
    used = (
        [gpu for gpu in gpus if not gpu.is_integrated]
        if node.gpus is None
        else [_find_gpu(entry, gpus) for entry in node.gpus]
    )
    return bool(used) and all(gpu is not None and gpu.maker != NVIDIA for gpu in used)


def _make_cpus(node: Node, count: int, machine: Machine) -> tuple[DeviceSpec, ...]:
    memory = machine.memory_total if node.memory is None else min(machine.memory_total, node.memory)
    share = Bytes(int(memory * CPU_MEMORY_SHARE) // max(1, count))
    names = [SlotId(f"{node.name}/cpu{index}") for index in range(count)]
    return tuple(
        DeviceSpec(name=name, node=node.name, provider=name, model="cpu", memory=share, hours=node.find_hours())
        for name in names
    )
