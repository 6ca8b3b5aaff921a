"""The hardware phase: supply, space, the GPUs themselves, their limits, and a test under load."""

from __future__ import annotations

from collections.abc import Iterator

from corral.cluster.values import Cluster, Gpu
from corral.hardware.catalogue import GpuModel
from corral.hardware.power import NodePower, Verdict, compute_power
from corral.hardware.power.supply import SUPPLY, TRANSIENTS
from corral.planning.checklist import commands
from corral.planning.checklist.nodes import NodeChange
from corral.planning.checklist.probes import GpusDetected, LoadTested, PowerLimitsSet, WantedGpu
from corral.planning.checklist.values import Command, FromFile, Item, Phase, Question, Work
from corral.units import format_bytes

LOAD_TEST_S = 1800
"""Thirty minutes: heat soaks a case, and the memory on a GPU's back, for longer than a GPU alone needs to settle."""

_OF_THE_SUPPLY = (SUPPLY, TRANSIENTS)
"""The judgements that the item about the supply needs; connectors have one of their own."""


def list_hardware_items(change: NodeChange, after: Cluster) -> Iterator[Item]:
    """List what a node's hardware needs, in order."""
    yield from _ask_for_parts(change)
    if change.hardware_differs:
        yield _check_supply(change, after)
        yield from _check_space(change)
        yield from _drain(change, after)
        yield from (_remove(change, gpu) for gpu in change.went if not _is_replaced(change, gpu))
        yield from (_install(change, gpu) for gpu in change.came)
        yield from _check_detected(change)
    yield from _set_limits(change)
    if change.nvidia and (change.hardware_differs or change.limits):
        yield _load_test(change)


def _make_item(change: NodeChange, what: str, *, title: str, why: str, work: Work, material: str | None = None) -> Item:
    return Item(
        id=f"hardware.{change.name}.{what}",
        phase=Phase.HARDWARE,
        node=change.name,
        title=title,
        why=why,
        work=work,
        material=material,
    )


def _ask_for_parts(change: NodeChange) -> Iterator[Item]:
    """Ask for a new power supply and for new memory."""
    old, new = change.before, change.after
    if old is None:
        return
    if new.psu_w is not None and new.psu_w != old.psu_w:
        yield _make_item(
            change,
            "psu",
            title=f"{change.name}: the power supply of {new.psu_w} W is in",
            why="the figures of the new file hold for this supply; cables of another one can be wired otherwise",
            work=Question(text=f"is the supply of {new.psu_w} W in, with its own cables only?"),
        )
    if new.memory is not None and new.memory != old.memory:
        size = format_bytes(new.memory)
        yield _make_item(
            change,
            "memory",
            title=f"{change.name}: {size} of memory are in",
            why="models that do not fit on a GPU are read through it; a module that is not seen is missing there",
            work=Question(text=f"does the machine report {size} (`free -h`, a few per cent less is usual)?"),
        )


def _check_supply(change: NodeChange, after: Cluster) -> Item:
    power = compute_power(change.after, change.models, electricity=None, night=after.night)
    about = [judgement for judgement in power.judgements if judgement.about in _OF_THE_SUPPLY]
    proven = bool(about) and not power.unknown and all(known.verdict is Verdict.OK for known in about)
    facts = "; ".join([*(known.what for known in about), *power.unknown])
    return _make_item(
        change,
        "supply",
        title=f"{change.name}: the power supply carries the GPUs",
        why="a supply that is too small cuts out on a load step and takes the whole machine down (C04)",
        work=FromFile(evidence=facts) if proven else Question(text=_ask_about_supply(power, facts)),
    )


def _ask_about_supply(power: NodePower, facts: str) -> str:
    advised = f"{power.recommended_psu.value:.0f} W" if power.recommended_psu else "what the machine's maker says"
    return f"does the supply carry it? {facts}; advised: {advised}"


def _check_space(change: NodeChange) -> Iterator[Item]:
    if not change.came:
        return
    facts = "; ".join(_describe_board(gpu, change.models.get(gpu.model or "")) for gpu in change.came)
    yield _make_item(
        change,
        "connectors",
        title=f"{change.name}: power connectors and slot space are there",
        why="each GPU wants its own cables from the supply, and two GPUs side by side need a gap to breathe",
        work=Question(text=f"are the connectors, the slots and the length there? {facts}"),
    )


def _describe_board(gpu: Gpu, model: GpuModel | None) -> str:
    name = f"GPU {gpu.index} {gpu.model or 'of unknown model'}"
    if model is None:
        return f"{name}: the catalogue does not know its board"
    facts = [
        model.power_connectors or "connectors unknown",
        model.slot_width or "slots unknown",
        f"{model.length_mm:.0f} mm" if model.length_mm else "length unknown",
        model.bus or "bus unknown",
    ]
    return f"{name}: {', '.join(facts)} (reference board; look at the maker's page of yours)"


def _drain(change: NodeChange, after: Cluster) -> Iterator[Item]:
    if after.kubernetes is None or change.before is None:
        return
    yield _make_item(
        change,
        "drain",
        title=f"{change.name}: no pods while the machine is open",
        why="what runs there loses its work with the power, and waits until Kubernetes gives the node up, 5 minutes",
        work=Command(line=commands.drain(change.name)),
    )


def _is_replaced(change: NodeChange, gpu: Gpu) -> bool:
    return any(new.index == gpu.index for new in change.came)


def _remove(change: NodeChange, gpu: Gpu) -> Item:
    return _make_item(
        change,
        f"remove.gpu{gpu.index}",
        title=f"{change.name}: take out GPU {gpu.index}, {gpu.model or 'of unknown model'}",
        why="a GPU that stays in its slot keeps drawing power and keeps its index",
        work=Question(text="is the machine off and unplugged, and the GPU out?"),
    )


def _install(change: NodeChange, gpu: Gpu) -> Item:
    old = next((gone for gone in change.went if gone.index == gpu.index), None)
    place = f"in place of {old.model or 'the old GPU'}" if old else "in a free slot"
    return _make_item(
        change,
        f"install.gpu{gpu.index}",
        title=f"{change.name}: install {gpu.model or 'the new GPU'} as GPU {gpu.index}, {place}",
        why="the driver numbers GPUs by their PCI bus: another slot gives another index",
        work=Question(text="is the GPU in its slot, screwed down, and are all its power connectors pushed in fully?"),
    )


def _check_detected(change: NodeChange) -> Iterator[Item]:
    title = f"{change.name}: all GPUs are detected"
    why = "a GPU that is loose in its slot is missing, or runs on fewer PCIe lanes than it has"
    if change.nvidia:
        gpus = tuple(WantedGpu(index=gpu.index, model=gpu.model, memory=gpu.memory) for gpu in change.nvidia)
        yield _make_item(change, "cards", title=title, why=why, work=GpusDetected(node=change.name, gpus=gpus))
    if change.others:
        names = ", ".join(f"GPU {gpu.index} {gpu.model}" for gpu in change.others)
        question = f"does the driver of its maker answer with {names}? (`lspci -nn | grep -Ei 'vga|3d|display'`)"
        yield _make_item(change, "other-cards", title=title, why=why, work=Question(text=question))


def _set_limits(change: NodeChange) -> Iterator[Item]:
    nvidia = {gpu.index for gpu in change.nvidia}
    limits = tuple(limit for limit in change.limits if limit[0] in nvidia)
    for index, watts in limits:
        yield _make_item(
            change,
            f"limit.gpu{index}",
            title=f"{change.name}: limit GPU {index} to {watts} W",
            why="less heat and smaller load steps, for a few per cent of speed; a limit is not an undervolt (C03)",
            work=Command(line=commands.set_power_limit(change.after, index, watts)),
        )
    if limits:
        yield _make_item(
            change,
            "limits",
            title=f"{change.name}: the power limits are set",
            why="a limit outside of a GPU's own range is refused (C02), and one that was set can be lost again (C01)",
            work=PowerLimitsSet(node=change.name, limits_w=limits),
        )


def _load_test(change: NodeChange) -> Item:
    gpus = tuple(gpu.index for gpu in change.nvidia)
    remote = change.after.address is not None
    test = LoadTested(node=change.name, gpus=gpus, seconds=LOAD_TEST_S)
    return _make_item(
        change,
        "load-test",
        title=f"{change.name}: all GPUs under load for {LOAD_TEST_S // 60} minutes",
        why="heat, the supply's transients and a bad riser show after minutes at full load, not at the desktop",
        work=Command(line=commands.load_test(change.after, LOAD_TEST_S)) if remote else test,
    )
