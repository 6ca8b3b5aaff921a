"""GPUs of AMD and Intel as the kernel shows them in /sys/class/drm; no library of their makers is needed.

Memory of AMD's is in the files `device/mem_info_vram_*`, in bytes
(https://docs.kernel.org/gpu/amdgpu/driver-misc.html). Of Intel's, versions of the `xe` driver show
`tile*/physical_vram_size_bytes`; where it is absent, the memory is unknown. Names are those of the machine's own list
of PCI ids (pci.ids), where it has one.

An integrated GPU is distinguished by what the kernel has: Intel's is always device 0000:00:02.0, and amdgpu gives the
metrics of one another format (`struct metrics_table_header` in kgd_pp_interface.h: revision 2 or 3, others have 1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from corral.hardware.makers import AMD, INTEL
from corral.telemetry.machine import list_display_vendors, read_kernel_text
from corral.telemetry.nvml import FoundGpu, find_gpus
from corral.units import Bytes

MAKERS = {"0x1002": AMD, "0x8086": INTEL}
"""By PCI vendor id, as the kernel writes it."""
_DRIVERS = frozenset({"amdgpu", "i915", "xe"})
"""Those that compute; `radeon` does not."""
_NVIDIA = "0x10de"
_CARD = re.compile(r"card\d+")
_INTEL_INTEGRATED = "0000:00:02.0"
_INTEGRATED_METRICS = frozenset({2, 3})
_REVISION = 2
"""Place of the format's revision in the metrics, after their size in two bytes."""
_PCI_IDS = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")
_LEAST_MEMORY = 3 * 2**30
"""Firmware gives an integrated GPU up to 2 GiB unless it is set otherwise; GPUs that run models have more."""


def find_all_gpus(root: Path = Path("/")) -> tuple[FoundGpu, ...]:
    """Return NVIDIA's GPUs as their driver lists them, then those of AMD and Intel. Blocks for up to a second."""
    nvidia = find_gpus().gpus
    return (*nvidia, *find_kernel_gpus(root, after=len(nvidia)))


def find_kernel_gpus(root: Path = Path("/"), *, after: int = 0) -> tuple[FoundGpu, ...]:
    """Return the GPUs of AMD and Intel by PCI address, integrated ones last; never raises for what is missing.

    Their numbers follow those of NVIDIA's GPUs: of all on the bus, so that they stay when NVIDIA's driver fails, and at
    least of the `after` that it lists.
    """
    first = max(after, (list_display_vendors(root) or ()).count(_NVIDIA))
    gpus = sorted(_list_gpus(root), key=lambda gpu: (gpu.is_integrated, gpu.pci))
    return tuple(replace(gpu, index=index) for index, gpu in enumerate(gpus, first))


def _list_gpus(root: Path) -> Iterator[FoundGpu]:
    for card in list_kernel_cards(root):
        yield _read_gpu(root, card)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCard:
    """A GPU of AMD or Intel as a folder of the kernel."""

    pci: str
    """`0000:03:00.0`."""
    maker: str
    device: Path

    def read_memory(self) -> tuple[Bytes | None, Bytes | None]:
        """Read its memory and how much of it is used by everyone; None where its driver does not show it."""
        if self.maker == AMD:
            return _read_number(self.device / "mem_info_vram_total"), _read_number(self.device / "mem_info_vram_used")
        return _sum_tiles(self.device), None


def list_kernel_cards(root: Path = Path("/")) -> Iterator[KernelCard]:
    """Yield the GPUs of AMD and Intel whose driver can compute."""
    folder = root / "sys/class/drm"
    for card in sorted(folder.iterdir()) if folder.is_dir() else ():
        device = card / "device"
        maker = MAKERS.get(read_kernel_text(device / "vendor"))
        uevent = dict(re.findall(r"^(\w+)=(.*)$", read_kernel_text(device / "uevent"), re.MULTILINE))
        address = uevent.get("PCI_SLOT_NAME")
        if _CARD.fullmatch(card.name) and maker and address and uevent.get("DRIVER") in _DRIVERS:
            yield KernelCard(pci=address.lower(), maker=maker, device=device)


def _read_gpu(root: Path, card: KernelCard) -> FoundGpu:
    (total, used), device, maker, address = card.read_memory(), card.device, card.maker, card.pci
    return FoundGpu(
        index=0,
        maker=maker,
        pci=address,
        is_integrated=address == _INTEL_INTEGRATED if maker == INTEL else _is_integrated_amd(device, total),
        name=_find_name(root, read_kernel_text(device / "vendor"), read_kernel_text(device / "device"), maker),
        memory_total=total,
        memory_used=used,
    )


def _is_integrated_amd(device: Path, memory: int | None) -> bool:
    try:
        revision = (device / "gpu_metrics").read_bytes()[_REVISION]
    except (OSError, IndexError):  # a kernel before 5.10, or a GPU without metrics
        return memory is None or memory < _LEAST_MEMORY
    return revision in _INTEGRATED_METRICS


def _sum_tiles(device: Path) -> Bytes | None:
    """Add up the memory of Intel's tiles; None where the driver does not show it."""
    sizes = [_read_number(path) for path in sorted(device.glob("tile*/physical_vram_size_bytes"))]
    known = [size for size in sizes if size is not None]
    return Bytes(sum(known)) if known and len(known) == len(sizes) else None


def _find_name(root: Path, vendor: str, model: str, maker: str) -> str | None:
    """Look a GPU up in the machine's pci.ids: `AMD Radeon RX 7600`; None where the list does not have it."""
    text = next((content for place in _PCI_IDS if (content := read_kernel_text(root / place))), "")
    section = re.search(rf"^{vendor.removeprefix('0x')}  .*\n((?:[\t#].*\n|\n)*)", f"{text}\n", re.MULTILINE)
    line = section and re.search(rf"^\t{model.removeprefix('0x')}  (.+)$", section[1], re.MULTILINE)
    if not line:
        return None
    marketed = re.search(r"\[([^\[\]]+)\]\s*$", line[1])
    return f"{maker} {marketed[1] if marketed else line[1].strip()}"


def _read_number(path: Path) -> Bytes | None:
    """Read a size; amdgpu writes decimal digits, xe hexadecimal ones after `0x`."""
    try:
        return Bytes(int(read_kernel_text(path), 0))
    except ValueError:
        return None
