"""GPUs of AMD and Intel are read from the kernel, where no library of NVIDIA's is."""

from __future__ import annotations

from pathlib import Path

from corral.operations.inventory import answer_inventory, collect_facts
from corral.telemetry.inventory import take_inventory
from corral.telemetry.kernel_gpus import find_kernel_gpus
from corral.telemetry.nvml import NvmlReading, NvmlStatus
from doubles.kernel_gpus import (
    VRAM_OF_7900_XTX,
    add_amd_card,
    add_card,
    add_integrated_amd,
    add_intel,
    add_pci_ids,
)

NO_NVIDIA = NvmlReading(status=NvmlStatus.NO_LIBRARY, reason="NVML Shared Library Not Found")


def test_card_of_amd_has_its_memory_its_name_and_its_place_on_the_bus(tmp_path: Path) -> None:
    add_pci_ids(tmp_path)
    add_amd_card(tmp_path, 1, "0000:03:00.0")

    (gpu,) = find_kernel_gpus(tmp_path)

    assert (gpu.index, gpu.maker, gpu.identity, gpu.is_integrated) == (0, "AMD", "0000:03:00.0", False)
    assert (gpu.memory_total, gpu.memory_used) == (VRAM_OF_7900_XTX, 2**30)
    assert gpu.name == "AMD Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M"


def test_name_is_unknown_without_a_list_of_ids(tmp_path: Path) -> None:
    add_amd_card(tmp_path, 0, "0000:03:00.0")

    assert [gpu.name for gpu in find_kernel_gpus(tmp_path)] == [None]


def test_memory_of_intel_is_the_sum_of_its_tiles_and_unknown_where_the_driver_shows_none(tmp_path: Path) -> None:
    tiles = {f"tile{number}/physical_vram_size_bytes": b"0x0000000400000000\n" for number in range(2)}
    add_intel(tmp_path, 0, "0000:03:00.0", driver="xe", files=tiles)
    add_intel(tmp_path, 1, "0000:07:00.0", driver="i915")

    assert [gpu.memory_total for gpu in find_kernel_gpus(tmp_path)] == [2**35, None]


def test_integrated_gpus_are_told_apart_and_numbered_after_cards(tmp_path: Path) -> None:
    add_intel(tmp_path, 0, "0000:00:02.0", driver="i915")
    add_amd_card(tmp_path, 1, "0000:03:00.0")
    add_integrated_amd(tmp_path, 2, "0000:01:00.0")

    gpus = find_kernel_gpus(tmp_path)

    assert [(gpu.index, gpu.pci, gpu.is_integrated) for gpu in gpus] == [
        (0, "0000:03:00.0", False),
        (1, "0000:00:02.0", True),
        (2, "0000:01:00.0", True),
    ]


def test_numbers_follow_nvidias_on_the_bus_although_its_driver_lists_none(tmp_path: Path) -> None:
    add_card(tmp_path, 0, "0000:01:00.0", vendor="0x10de", device="0x2684", driver="nouveau", files={})
    add_amd_card(tmp_path, 1, "0000:03:00.0")

    assert [gpu.index for gpu in find_kernel_gpus(tmp_path)] == [1]
    assert [gpu.index for gpu in find_kernel_gpus(tmp_path, after=3)] == [3]


def test_a_machine_without_such_gpus_has_none(tmp_path: Path) -> None:
    assert find_kernel_gpus(tmp_path) == ()


def test_inventory_has_the_card_and_leaves_the_integrated_gpu_out(tmp_path: Path) -> None:
    add_pci_ids(tmp_path)
    add_amd_card(tmp_path, 1, "0000:03:00.0")
    add_integrated_amd(tmp_path, 0, "0000:0c:00.0")

    inventory = take_inventory(root=tmp_path, nvml=NO_NVIDIA)
    answer = answer_inventory(inventory, collect_facts(inventory))

    assert answer.gpus_unknown_because is None
    assert [(gpu.index, gpu.maker, gpu.pci_address, gpu.memory) for gpu in answer.gpus or ()] == [
        (0, "AMD", "0000:03:00.0", VRAM_OF_7900_XTX)
    ]


def test_card_that_its_driver_does_not_hold_leaves_the_gpus_open(tmp_path: Path) -> None:
    add_card(tmp_path, 0, "0000:03:00.0", vendor="0x1002", device="0x744c", driver="vfio-pci", files={})

    facts = collect_facts(take_inventory(root=tmp_path, nvml=NO_NVIDIA))

    assert facts.gpus is None
    assert facts.gpus_unknown_because == "a GPU of AMD is here without a driver that computes (amdgpu, xe, i915)"
