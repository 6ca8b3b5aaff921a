"""Branches of NVIDIA's driver for Linux, and the generations of GPUs that each drives.

Generations are CUDA capabilities (developer.nvidia.com/cuda-gpus). First drivers: that of the first CUDA toolkit for
the generation (release notes of CUDA, table of toolkits and drivers); for Kepler and Maxwell, which are not in that
table, the branch alone. Last branches: NVIDIA's page of legacy GPUs (nvidia.com/en-us/drivers/unix/legacy-gpu) and the
message of the kernel module, "supported through the NVIDIA 580.xx Legacy drivers" (NixOS/nixos-hardware, number 1880).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from corral.hardware.catalogue import GpuModel

Capability = tuple[int, int]

OPEN_SINCE: Capability = (7, 5)
"""Turing: the first that the open kernel modules drive (NVIDIA's README of the driver, chapter on open modules)."""
ONLY_OPEN_SINCE: Capability = (10, 0)
"""Blackwell: the open modules are the only ones for it, from driver 570 on (pitfall A30)."""
CONSUMER_BLACKWELL: Capability = (12, 0)
"""GeForce RTX 50 and RTX PRO Blackwell, for which kernels are compiled apart from those for the data centre (A29)."""
CUDA_OF_120 = (12, 8)
PYTORCH_OF_120 = (2, 7)
"""The first versions with kernels for capability 12.0 (pytorch#153928)."""


@dataclass(frozen=True, slots=True)
class Generation:
    """GPUs from one capability up to the next generation's."""

    since: Capability
    name: str
    first_driver: tuple[int, int]
    """The first driver that runs them: its branch and its number in it, 0 where only the branch is known."""
    last_branch: int | None = None
    """The last branch that drives them; None while new ones do."""

    @property
    def first_branch(self) -> int:
        """The first branch that drives them."""
        return self.first_driver[0]


GENERATIONS: tuple[Generation, ...] = (
    Generation((3, 0), "Kepler", (304, 0), 470),
    Generation((5, 0), "Maxwell", (343, 0), 580),
    Generation((6, 0), "Pascal", (367, 48), 580),
    Generation((7, 0), "Volta", (384, 81), 580),
    Generation((7, 5), "Turing", (410, 48)),
    Generation((8, 0), "Ampere", (450, 36)),
    Generation((8, 6), "Ampere", (455, 23)),
    Generation((8, 9), "Ada", (520, 61)),
    Generation((9, 0), "Hopper", (520, 61)),
    Generation((10, 0), "Blackwell", (570, 26)),
)
"""From old to new. Those before Kepler are not here: no engine of ours computes on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverNeed:
    """The requirements of the GPUs of one machine on its driver."""

    first_driver: tuple[int, int]
    """The first driver that runs the newest of them: branch and number."""
    last_branch: int | None
    """The last branch that runs the oldest of them; None while new ones do."""
    open_modules: bool
    """Whether one of them needs the open kernel modules."""
    newest_gpu: str
    """The model that asks for `first_driver`."""
    contradiction: str | None
    """Why no driver runs all of them; None when one does."""


def find_generation(capability: Capability) -> Generation | None:
    """Find the generation of a capability; None for one that is older than all."""
    return next((item for item in reversed(GENERATIONS) if capability >= item.since), None)


def find_driver_need(models: Iterable[GpuModel]) -> DriverNeed | None:
    """Find what a machine with these GPUs needs; None when the generation of none is known."""
    known = sorted(
        (
            (model.cuda_capability, model.name, generation)
            for model in models
            if model.cuda_capability and (generation := find_generation(model.cuda_capability))
        ),
        key=lambda entry: entry[:2],
    )
    if not known:
        return None
    (lowest, old, oldest), (highest, new, newest) = known[0], known[-1]
    needs_open = highest >= ONLY_OPEN_SINCE
    contradiction = None
    if needs_open and lowest < OPEN_SINCE:
        contradiction = (
            f"{new} needs NVIDIA's open kernel modules, and {old} the closed ones: one machine cannot "
            "run both (pitfall A30)"
        )
    elif oldest.last_branch is not None and oldest.last_branch < newest.first_branch:
        contradiction = (
            f"{new} needs driver {newest.first_branch} or newer, and {old} {oldest.last_branch} or older: "
            "one machine cannot run both"
        )
    return DriverNeed(
        first_driver=newest.first_driver,
        last_branch=oldest.last_branch,
        open_modules=needs_open,
        newest_gpu=new,
        contradiction=contradiction,
    )
