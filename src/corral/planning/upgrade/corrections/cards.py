"""Beliefs about cards: what they can do, alone and together."""

from __future__ import annotations

from corral.planning.upgrade.capacity import ModelFit, Seating
from corral.planning.upgrade.cards import all_cards, cards_of
from corral.planning.upgrade.corrections.values import Belief, Correction, Situation
from corral.planning.upgrade.differences import figure_text, origin_text
from corral.planning.upgrade.uniformity import capability_of


def capability(now: Situation) -> Correction | None:
    """Tell the CUDA capability of a consumer Blackwell card, a new one if there is one."""
    known = {card.model for card in all_cards(now.before)}
    names = {node.name for node in now.hardware.changed}
    cards = [card for card in all_cards(now.after) if card.node in names and capability_of(card) == "12.0"]
    if not cards:
        return None
    card = next((card for card in cards if card.model not in known), cards[0])
    return Correction(
        id="A29",
        belief="Consumer Blackwell cards have CUDA capability 10.0 (`sm_100`).",
        truth=f"{card.title} has CUDA capability 12.0 (`sm_120`). 10.0 is the data centre's Blackwell; kernels for "
        "`sm_100` do not run here. Builds need CUDA 12.8 or newer (PyTorch 2.7 or newer).",
        here=", ".join(one.name for one in cards),
        source=(card.facts.source if card.facts else None) or "the GPU catalogue",
    )


def split_model(now: Situation) -> Correction | None:
    """Tell what a 33B model takes on each card of a split, on the first node that has several."""
    found = [(one.node, fit) for one in now.capacity for fit in one.fits if fit.model.startswith("33b") and fit.on_each]
    if not found:
        return None
    node, fit = found[0]
    return Correction(
        id="split-33b",
        belief="A 33B model at 4 bits needs about 16 GB on each of two cards.",
        truth=f"It needs {figure_text(fit.alone)} on one card, and {figure_text(fit.on_each)} on each card of an even "
        f"split over those of {node}. {_before_and_after(fit)}",
        here=", ".join(node for node, _ in found),
        source=origin_text(fit.alone),
    )


def _before_and_after(fit: ModelFit) -> str:
    if Seating.NO not in (fit.before, fit.after):
        return "So it fits after the upgrade, and it did before."
    return f"Before the upgrade: {fit.before.value}. After it: {fit.after.value}."


def _parallel_workloads(now: Situation) -> list[str]:
    if not any(len(node.gpus or ()) > 1 for node in now.changed_nodes):
        return []
    return [one.name for one in now.after.workloads.values() if one.parallel_capable]


DATA_PARALLEL = Belief(
    id="A28",
    belief="`torch.nn.DataParallel` is how to train on two cards.",
    truth="PyTorch recommends DistributedDataParallel, one process for each card, also on one machine "
    "(`accelerate launch --multi_gpu --num_processes 2`). In a container it needs more than the 64 MB of "
    "`/dev/shm` that pods have (pitfalls A26).",
    source="PyTorch documentation, torch.nn.DataParallel: warning",
    where=_parallel_workloads,
)


def _equal_pairs(now: Situation) -> list[str]:
    return [
        node.name
        for node in now.hardware.changed
        if node.after and len(node.after.cards) > 1 and node.after.homogeneous
    ]


SINGLE_POINT = Belief(
    id="B15",
    belief="With two cards there is no single point of failure.",
    truth="The machine, its power supply, its driver and the server of its data remain. A card that falls off the "
    "bus can even keep the other from new pods until the device plugin restarts.",
    source="k8s-device-plugin#2038; its health check, read in its source",
    where=_equal_pairs,
)


def _limited_cards(now: Situation) -> list[str]:
    return [
        card.name
        for node in now.changed_nodes
        for card in cards_of(node)
        if card.power_limit_w is not None and card.is_nvidia
    ]


POWER_LIMIT = Belief(
    id="C01",
    belief="`nvidia-smi -pl` undervolts a card, once and for all.",
    truth="It limits power, and the voltage curve stays. The limit is gone after a restart or a reload of the "
    "driver, so a service has to set it at each start; without `-i` it is set on every card of the machine.",
    source="NVIDIA, nvidia-smi: Power Limit; nixos_config#1396",
    where=_limited_cards,
)
