"""A process sees the GPUs of its slot by the variables of their maker."""

from __future__ import annotations

from pathlib import Path

from corral.engines.visible_gpus import VARIABLES, list_visible
from doubles.kernel_gpus import add_intel, add_kfd_node


def test_nvidias_gpus_are_named_to_cuda_alone() -> None:
    assert list_visible(("GPU-1", "GPU-2")) == {
        "CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def test_amds_gpu_is_never_named_to_cuda_and_has_rocms_number(tmp_path: Path) -> None:
    add_kfd_node(tmp_path, 0)
    add_kfd_node(tmp_path, 1, bus=0x03, simd_count=192)
    add_kfd_node(tmp_path, 2, bus=0x83, simd_count=192)
    add_kfd_node(tmp_path, 10, bus=0x0C, simd_count=24)

    seen = list_visible(("0000:83:00.0", "0000:0c:00.0"), root=tmp_path)

    assert seen["CUDA_VISIBLE_DEVICES"] == ""
    assert seen["ROCR_VISIBLE_DEVICES"] == "1,2"
    assert seen["HIP_VISIBLE_DEVICES"] == "0,1"
    assert "ONEAPI_DEVICE_SELECTOR" not in seen


def test_gpu_that_rocm_does_not_list_is_hidden_with_all_others(tmp_path: Path) -> None:
    add_kfd_node(tmp_path, 1, bus=0x03, simd_count=192)

    seen = list_visible(("0000:83:00.0",), root=tmp_path)

    assert (seen["ROCR_VISIBLE_DEVICES"], seen["HIP_VISIBLE_DEVICES"]) == ("", "-1")


def test_intels_card_is_numbered_by_its_address_among_intels_gpus(tmp_path: Path) -> None:
    add_intel(tmp_path, 1, "0000:00:02.0", driver="i915")
    add_intel(tmp_path, 0, "0000:03:00.0", driver="xe")

    seen = list_visible(("0000:03:00.0",), root=tmp_path)

    assert seen["ONEAPI_DEVICE_SELECTOR"] == "level_zero:1"
    assert seen["ZE_ENABLE_PCI_ID_DEVICE_ORDER"] == "1"
    assert seen["CUDA_VISIBLE_DEVICES"] == ""
    assert set(seen) <= set(VARIABLES)
