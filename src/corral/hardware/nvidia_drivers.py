"""Branches of NVIDIA's driver for Linux, and the generations of GPUs that each drives.

Generations are CUDA capabilities (developer.nvidia.com/cuda-gpus). First branches: the release notes of the drivers
that added them. Last branches: NVIDIA's page of legacy GPUs (nvidia.com/en-us/drivers/unix/legacy-gpu) and the message
of the kernel module, "supported through the NVIDIA 580.xx Legacy drivers" (NixOS/nixos-hardware, number 1880).
"""

from __future__ import annotations

from dataclasses import dataclass

Capability = tuple[int, int]

OPEN_SINCE: Capability = (7, 5)
"""Turing: the first that the open kernel modules drive (NVIDIA's README of the driver, chapter on open modules)."""
ONLY_OPEN_SINCE: Capability = (10, 0)
"""Blackwell: the open modules are the only ones for it, from driver 570 on (pitfall A30)."""


@dataclass(frozen=True, slots=True)
class Generation:
    """GPUs from one capability up to the next generation's."""

    since: Capability
    name: str
    first_branch: int
    """The first branch that drives them."""
    last_branch: int | None = None
    """The last branch that drives them; None while new ones do."""


GENERATIONS: tuple[Generation, ...] = (
    Generation((3, 0), "Kepler", 304, 470),
    Generation((5, 0), "Maxwell", 343, 580),
    Generation((6, 0), "Pascal", 367, 580),
    Generation((7, 0), "Volta", 384, 580),
    Generation((7, 5), "Turing", 410),
    Generation((8, 0), "Ampere", 450),
    Generation((8, 9), "Ada", 520),
    Generation((9, 0), "Hopper", 520),
    Generation((10, 0), "Blackwell", 570),
)
"""From old to new. Those before Kepler are not here: no engine of ours computes on them."""


def find_generation(capability: Capability) -> Generation | None:
    """Find the generation of a capability; None for one that is older than all."""
    return next((item for item in reversed(GENERATIONS) if capability >= item.since), None)
