"""Which NVIDIA driver runs which cards.

The oldest driver by CUDA capability is that of the first CUDA toolkit that has it: the table "CUDA Toolkit and
Corresponding Driver Versions" of the CUDA release notes
(https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/index.html), toolkit 8.0 for 6.x, 9.0 for 7.0, 10.0 for 7.5,
11.0 for 8.0, 11.1 for 8.6, 11.8 for 8.9 and 9.0, 12.8 for 10.0 and 12.0. Blackwell needs the open kernel modules
(pitfall A30), which exist from Turing (7.5) on; 580 is the last branch for what is older.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from corral.hardware.catalogue import GpuModel

_OLDEST = (
    ((12, 0), (570, 26)),
    ((10, 0), (570, 26)),
    ((8, 9), (520, 61)),
    ((8, 6), (455, 23)),
    ((8, 0), (450, 36)),
    ((7, 5), (410, 48)),
    ((7, 0), (384, 81)),
    ((6, 0), (375, 26)),
)
"""CUDA capability, and the first Linux driver for it; the first row that is not above a card is its own."""
OPEN_ONLY_FROM = (10, 0)
"""Blackwell: the closed kernel modules do not run it."""
OPEN_FROM = (7, 5)
"""Turing: the open kernel modules do not run what is older."""
_FIRST_WITHOUT_OLD = 590


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverNeed:
    """What the driver of a machine has to be."""

    oldest: tuple[int, int]
    below: int | None
    open_modules: bool
    newest_card: str
    """The card that asks for `oldest`."""
    contradiction: str | None
    """Why no driver runs all the cards; None when one does."""


def driver_need(models: Iterable[GpuModel]) -> DriverNeed | None:
    """Find what a machine with these NVIDIA cards needs; None when no card's capability is known."""
    known = sorted(((model.cuda_capability, model.name) for model in models if model.cuda_capability), reverse=True)
    if not known:
        return None
    newest, oldest = known[0], known[-1]
    needs_open, needs_closed = newest[0] >= OPEN_ONLY_FROM, oldest[0] < OPEN_FROM
    contradiction = None
    if needs_open and needs_closed:
        contradiction = f"{newest[1]} runs on the open kernel modules only, and {oldest[1]} on the closed ones only"
    return DriverNeed(
        oldest=next((driver for capability, driver in _OLDEST if capability <= newest[0]), _OLDEST[-1][1]),
        below=_FIRST_WITHOUT_OLD if needs_closed else None,
        open_modules=needs_open,
        newest_card=newest[1],
        contradiction=contradiction,
    )
