"""Facts about the NVIDIA GPUs of a node that drivers, runtimes and power limits are chosen by."""

from __future__ import annotations

import re
from dataclasses import dataclass

from corral.cluster.values import Gpu, Node
from corral.hardware.catalogue import GpuModel, resolve_gpu

NVIDIA = "NVIDIA"
OPEN_SINCE: tuple[int, int] = (7, 5)
"""Turing: the first that the open kernel modules drive (NVIDIA's README of the driver, chapter on open modules)."""
ONLY_OPEN_SINCE: tuple[int, int] = (10, 0)
"""Blackwell: the open modules are the only ones for it, from driver 570 on (pitfall A30)."""

_GEFORCE = re.compile(r"GTX? \d|RTX [2-9]0[5-9]0\b")
"""RTX 4090 is one, and RTX 4000 Ada Generation is none: numbers of professional cards end otherwise."""
_SIZE = re.compile(r" \d+ ?GB$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card of the file that is NVIDIA's, or of which nobody said what it is."""

    gpu: Gpu
    model: GpuModel | None
    """None when the file names no model, or one that the catalogue does not know."""

    @property
    def name(self) -> str:
        """How people call it; its place in the node when the model is not known."""
        return self.model.name if self.model else f"GPU {self.gpu.index}"

    @property
    def capability(self) -> tuple[int, int] | None:
        """Its CUDA capability; None when it is not known."""
        return self.model.cuda_capability if self.model else None


def nvidia_cards(node: Node) -> tuple[Card, ...]:
    """Every card of a node that is or may be NVIDIA's, in the order of the file; none when they are yet to be found."""
    cards = (Card(gpu=gpu, model=resolve_gpu(gpu.model, memory=gpu.memory)) for gpu in node.gpus or ())
    return tuple(card for card in cards if card.model is None or card.model.vendor == NVIDIA)


def limited_cards(node: Node) -> tuple[Card, ...]:
    """The cards that are to have a power limit."""
    return tuple(card for card in nvidia_cards(node) if card.gpu.power_limit_w is not None)


def power_command(card: Card) -> tuple[str, ...]:
    """The arguments of `nvidia-smi` that set a card's limit: by UUID where it is known, since an index can move."""
    which = card.gpu.uuid or str(card.gpu.index)
    return ("-i", which, "-pl", str(card.gpu.power_limit_w))


def is_geforce(model: str) -> bool:
    """Tell whether a card is a GeForce: those have no peer-to-peer access between cards (pitfall A27)."""
    return product_name(model).startswith("NVIDIA GeForce")


def product_name(model: str) -> str:
    """The name that NVIDIA's driver gives to a card: `NVIDIA GeForce RTX 5070 Ti`; a GeForce's has no size."""
    plain = model.removeprefix("NVIDIA ").removeprefix("GeForce ")
    if not _GEFORCE.match(plain):
        return f"NVIDIA {plain}"
    return f"NVIDIA GeForce {_SIZE.sub('', plain).replace(' Mobile', ' Laptop GPU')}"
