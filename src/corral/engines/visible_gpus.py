"""The variables by which a process sees the GPUs of its slot and no others, by maker.

NVIDIA's GPUs are named by UUID, in `CUDA_VISIBLE_DEVICES`. AMD's and Intel's are known by PCI address, and their
libraries number them: ROCm as KFD lists its nodes (https://docs.kernel.org/gpu/amdgpu/ and
https://rocm.docs.amd.com/en/latest/conceptual/gpu-isolation.html), Level Zero by PCI address where
`ZE_ENABLE_PCI_ID_DEVICE_ORDER` is 1 (its specification). Vulkan's numbers are found in `corral.engines.llama.vulkan`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ONEAPI_DEVICE_SELECTOR",
    "ZE_ENABLE_PCI_ID_DEVICE_ORDER",
)
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_INTEL = "0x8086"
_AMD = "0x1002"
_CARD = re.compile(r"card\d+")


def is_address(gpu: str) -> bool:
    """Whether a GPU is named by PCI address: one of AMD or Intel."""
    return _ADDRESS.fullmatch(gpu) is not None


def list_visible(gpus: Sequence[str], *, root: Path = Path("/")) -> dict[str, str]:
    """Return the variables for these GPUs, named by UUID or PCI address; without any, CUDA sees none.

    `root` is where /sys is found. A GPU that a library does not number is hidden from it, and so are all others.
    """
    addresses = [gpu for gpu in gpus if is_address(gpu)]
    cuda = {
        "CUDA_VISIBLE_DEVICES": ",".join(gpu for gpu in gpus if gpu not in addresses),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # so that an index means the same to CUDA and to NVML
    }
    if not addresses:
        return cuda
    rocm = _find_numbers(addresses, list(_list_kfd(root)))
    level_zero = _find_numbers(addresses, _list_intel(root))
    return {
        **cuda,
        "ROCR_VISIBLE_DEVICES": ",".join(map(str, rocm)),
        # HIP numbers what ROCR leaves, and reads CUDA's variable where its own is empty.
        "HIP_VISIBLE_DEVICES": ",".join(map(str, range(len(rocm)))) or "-1",
        **(
            {
                "ONEAPI_DEVICE_SELECTOR": f"level_zero:{','.join(map(str, level_zero))}",
                "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1",
            }
            if level_zero
            else {}
        ),
    }


def list_device_files(gpu: str | None, *, root: Path = Path("/")) -> tuple[str, ...]:
    """Return the files by which a container has a GPU of AMD or Intel: its render node, and for AMD the one of KFD.

    Without such a GPU, or where the kernel does not name its render node, there are none. `root` has /dev and /sys.
    """
    if gpu is None or not is_address(gpu):
        return ()
    node = root / "dev/dri/by-path" / f"pci-{gpu}-render"
    if not node.exists():
        return ()
    is_amd = _read_text(root / "sys/bus/pci/devices" / gpu / "vendor") == _AMD
    files = (node.resolve(), *((root / "dev/kfd",) if is_amd else ()))
    return tuple(f"/{file.relative_to(root.resolve())}" for file in files)


def _find_numbers(addresses: Sequence[str], listed: Sequence[str]) -> list[int]:
    return [listed.index(address) for address in addresses if address in listed]


def _list_kfd(root: Path) -> Iterator[str]:
    """Yield the PCI addresses of AMD's GPUs as ROCm counts them: nodes that compute, and that this process can open."""
    folder = root / "sys/class/kfd/kfd/topology/nodes"
    nodes = [node for node in folder.iterdir() if node.name.isdigit()] if folder.is_dir() else []
    for node in sorted(nodes, key=lambda node: int(node.name)):
        pairs = re.findall(r"^(\w+) (\d+)$", _read_text(node / "properties"), re.MULTILINE)
        values = {name: int(number) for name, number in pairs}
        if values.get("simd_count", 0) > 0:
            place = values.get("location_id", 0)  # bus, device and function, as PCI packs them into 16 bits
            bus, device, function = place >> 8 & 0xFF, place >> 3 & 0x1F, place & 7
            yield f"{values.get('domain', 0):04x}:{bus:02x}:{device:02x}.{function}"


def _list_intel(root: Path) -> list[str]:
    """List the PCI addresses of Intel's GPUs in their order, integrated ones too."""
    folder = root / "sys/class/drm"
    cards = [card for card in folder.iterdir() if _CARD.fullmatch(card.name)] if folder.is_dir() else []
    uevents = [_read_text(card / "device/uevent") for card in cards if _read_text(card / "device/vendor") == _INTEL]
    matches = [re.search(r"^PCI_SLOT_NAME=(.+)$", text, re.MULTILINE) for text in uevents]
    return sorted({match[1].lower() for match in matches if match})


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # the properties of a GPU that the container's device group hides, for example
        return ""
