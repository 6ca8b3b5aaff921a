"""From what the cluster file says and what was found: the slots of this machine; pure.

One slot per working GPU. The processor takes tasks where there is no GPU, or where the file asks for it: a machine
whose cards are broken does not quietly compute on its processor, a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corral.cluster.values import Gpu, Node
from corral.errors import Problem
from corral.hardware.catalogue import list_matching
from corral.telemetry.machine import Machine
from corral.telemetry.nvml import FoundGpu, GpuState
from corral.units import Bytes, format_bytes
from corral.work import SlotId

CPU_SLOTS = 2
"""Without a GPU, by default: two small models side by side keep two cores busy, more only swap places in the cache."""
CPU_MEMORY_SHARE = 0.8
"""Of the memory, what slots may use together; the rest is for the system, the database and the server."""
MEMORY_TOLERANCE = 0.1
"""A card shows a few per cent less memory than its box; a tenth less is another card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSlot:
    """A place on this machine where one task can run at a time."""

    id: SlotId
    node: str
    device: str
    """What provides the memory: `<node>/GPU-<uuid>`, or the slot's own id for a share of the processor."""
    device_model: str
    """The GPU's short name, or `cpu`."""
    capacity: Bytes | None
    """Memory that tasks may use; of a GPU, what others do not hold now. None when unknown."""
    threads: int
    """Processor threads for its engine, at least 1."""
    cuda_visible_devices: str
    """For the engine's environment: the GPU's UUID, because CUDA numbers cards otherwise than the driver; empty hides
    all of them from a processor's slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSlots:
    """The slots, and how the file and the machine disagree."""

    slots: tuple[LocalSlot, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """A GPU to use: as found, and as the file describes it."""

    index: int
    uuid: str
    found: FoundGpu
    said: Gpu | None


def local_slots(node: Node, gpus: Sequence[FoundGpu], machine: Machine) -> LocalSlots:
    """Make the slots of `node`, which is this machine; `gpus` and `machine` are what was found on it."""
    cards, problems = _cards(node, gpus)
    cpu_count = _cpu_count(node, gpus, machine)
    threads = max(1, machine.cpu_cores // max(1, len(cards) + cpu_count))
    slots = (
        *(_gpu_slot(node, card, threads) for card in cards),
        *_cpu_slots(node, cpu_count, machine, threads),
    )
    return LocalSlots(slots=slots, problems=tuple(problems))


def short_name(gpu: FoundGpu) -> str | None:
    """Give a card the name that people use, `RTX 5070 Ti`: the catalogue's, else the driver's without the maker."""
    if gpu.name is None:
        return None
    models = list_matching(gpu.name, memory=gpu.memory_total)
    return models[0].name if len(models) == 1 else gpu.name.removeprefix("NVIDIA ").removeprefix("GeForce ").strip()


def _cards(node: Node, gpus: Sequence[FoundGpu]) -> tuple[list[_Card], list[Problem]]:
    """Pair what the file lists with what was found; without a list, take all that was found."""
    pairs: list[tuple[Gpu | None, FoundGpu | None]]
    if node.gpus is None:
        pairs = [(None, found) for found in gpus]
    else:
        pairs = [(said, _match(said, gpus)) for said in node.gpus]
    cards: list[_Card] = []
    problems: list[Problem] = []
    for said, found in pairs:
        card = _card(node, said, found, len(gpus))
        if isinstance(card, Problem):
            problems.append(card)
            continue
        cards.append(card)
        problems += _differences(node, card)
    return cards, problems


def _match(said: Gpu, gpus: Sequence[FoundGpu]) -> FoundGpu | None:
    if said.uuid is not None:
        return next((found for found in gpus if found.uuid == said.uuid), None)
    return next((found for found in gpus if found.index == said.index), None)


def _card(node: Node, said: Gpu | None, found: FoundGpu | None, count: int) -> _Card | Problem:
    if found is None:
        return _absent(node, said, count)
    if found.state is not GpuState.OK or found.uuid is None:
        return _unusable(node, found)
    index = found.index if said is None else said.index
    return _Card(index=index, uuid=found.uuid, found=found, said=said)


def _absent(node: Node, said: Gpu | None, count: int) -> Problem:
    which = "a GPU" if said is None else f"GPU {said.index}" + (f" ({said.uuid})" if said.uuid else "")
    return Problem(
        code="machine.gpu_absent",
        what=f"the cluster file lists {which} and {count} GPU{' was' if count == 1 else 's were'} found",
        where=f"nodes[{node.name}].gpus",
        hint="run `corral doctor` to see what the driver says, or take the GPU out of the cluster file",
    )


def _unusable(node: Node, found: FoundGpu) -> Problem:
    fact = found.problem or "the driver gives no UUID for it"
    hint = "restart the machine, then run `corral doctor`; if it happens again, check the card's power and seat"
    return Problem(
        code=f"machine.gpu_{'lost' if found.state is GpuState.LOST else 'failed'}",
        what=f"GPU {found.index} cannot be used: {fact}",
        where=f"{node.name}/gpu{found.index}",
        hint=hint,
    )


def _differences(node: Node, card: _Card) -> list[Problem]:
    """Say where a card is not what the file says; it is used as what it is."""
    where = f"nodes[{node.name}].gpus[{card.index}]"
    said, found = card.said, card.found
    problems: list[Problem] = []
    if said is not None and said.model and found.name and not _is_model(found, said.model):
        fact = f"the cluster file says {said.model!r} and the driver says {short_name(found)!r}"
        hint = f"write `model: {short_name(found)}`, or leave the model out"
        problems.append(Problem(code="machine.gpu_model_differs", what=fact, where=where, hint=hint))
    if said is not None and said.memory and found.memory_total and _is_less(found.memory_total, said.memory):
        fact = f"the cluster file says {format_bytes(said.memory)} and the card has {format_bytes(found.memory_total)}"
        hint = "correct the memory in the cluster file, or leave it out"
        problems.append(Problem(code="machine.gpu_memory_differs", what=fact, where=where, hint=hint))
    return problems


def _is_model(found: FoundGpu, said: str) -> bool:
    """Tell whether a card may be what the file calls it; a name may stand for several models of the catalogue."""
    if said.casefold() in {(found.name or "").casefold(), (short_name(found) or "").casefold()}:
        return True
    return bool(set(list_matching(found.name or "", memory=found.memory_total)) & set(list_matching(said)))


def _is_less(found: int, said: int) -> bool:
    return found < said * (1 - MEMORY_TOLERANCE)


def _gpu_slot(node: Node, card: _Card, threads: int) -> LocalSlot:
    return LocalSlot(
        id=SlotId(f"{node.name}/gpu{card.index}"),
        node=node.name,
        device=f"{node.name}/{card.uuid}",
        device_model=short_name(card.found) or (card.said.model if card.said else None) or "unknown",
        capacity=_gpu_capacity(card),
        threads=threads,
        cuda_visible_devices=card.uuid,
    )


def _gpu_capacity(card: _Card) -> Bytes | None:
    """What the driver says is free; the file may give less of a card, never more than it has."""
    found, said = card.found, card.said.memory if card.said else None
    if found.memory_total is None:
        return said
    free = found.memory_total - (found.memory_used or 0)
    return Bytes(free if said is None else min(free, said))


def _cpu_count(node: Node, gpus: Sequence[FoundGpu], machine: Machine) -> int:
    if node.cpu_slots is not None:
        return node.cpu_slots
    if node.gpus or (node.gpus is None and gpus):
        return 0
    return min(CPU_SLOTS, machine.cpu_cores)


def _cpu_slots(node: Node, count: int, machine: Machine, threads: int) -> tuple[LocalSlot, ...]:
    memory = machine.memory_total if node.memory is None else min(machine.memory_total, node.memory)
    share = Bytes(int(memory * CPU_MEMORY_SHARE) // max(1, count))
    return tuple(
        LocalSlot(
            id=SlotId(f"{node.name}/cpu{index}"),
            node=node.name,
            device=f"{node.name}/cpu{index}",
            device_model="cpu",
            capacity=share,
            threads=threads,
            cuda_visible_devices="",
        )
        for index in range(count)
    )
