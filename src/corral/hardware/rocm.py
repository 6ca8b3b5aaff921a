"""Targets of AMD's GPUs, as ROCm compiles kernels for them, and the targets that an override can stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from corral.hardware.catalogue import GpuModel

_TARGETS: Mapping[str, str] = MappingProxyType(
    {
        "Vega 10": "gfx900",
        "Vega 20": "gfx906",
        "Arcturus": "gfx908",
        "Aldebaran": "gfx90a",
        "Renoir": "gfx90c",
        "Lucienne": "gfx90c",
        "Cezanne": "gfx90c",
        "Barcelo": "gfx90c",
        "Navi 10": "gfx1010",
        "Navi 14": "gfx1012",
        "Navi 21": "gfx1030",
        "Navi 22": "gfx1031",
        "Navi 23": "gfx1032",
        "Navi 24": "gfx1034",
        "Rembrandt": "gfx1035",
        "Rembrandt+": "gfx1035",
        "Raphael": "gfx1036",
        "Navi 31": "gfx1100",
        "Navi 32": "gfx1101",
        "Navi 33": "gfx1102",
        "Phoenix": "gfx1103",
        "Hawk Point": "gfx1103",
        "Strix Point": "gfx1150",
        "Strix Halo": "gfx1151",
        "Krackan Point": "gfx1152",
        "Navi 44": "gfx1200",
        "Navi 48": "gfx1201",
    }
)
"""By chip, as LLVM names them (llvm.org/docs/AMDGPUUsage.html, processors)."""
_NATIVE_IN_7_2 = frozenset({"gfx1103", "gfx1150", "gfx1151"})
"""Processors' own GPUs, which older ROCm ran as another; ROCm 7.2 has kernels for them (project-nomad#1076)."""
NATIVE_SINCE = "7.2"
_TARGET = re.compile(r"gfx(?P<major>\d+)(?P<minor>[0-9a-f])(?P<stepping>[0-9a-f])")
_VERSION = re.compile(r"(?P<major>\d+)\.(?P<minor>\d+)\.(?P<stepping>\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target of ROCm's compilers."""

    name: str
    """`gfx1103`."""

    @property
    def major(self) -> int:
        """Its generation: 11 for RDNA 3."""
        match = _TARGET.fullmatch(self.name)
        return int(match["major"]) if match else 0

    @property
    def is_native_in_7_2(self) -> bool:
        """Whether ROCm 7.2 has kernels for it, which before had to be those of another target."""
        return self.name in _NATIVE_IN_7_2


def find_target(model: GpuModel) -> Target | None:
    """Find the target of a GPU; None when it is unknown, or not AMD's."""
    name = _TARGETS.get(model.chip or "")
    return Target(name=name) if name else None


def parse_override(text: str) -> Target | None:
    """Parse a value of HSA_OVERRIDE_GFX_VERSION (`11.0.0` is gfx1100); None for anything else."""
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        return None
    return Target(name=f"gfx{match['major']}{int(match['minor']):x}{int(match['stepping']):x}")
