"""Which of Vulkan's devices a slot's GPUs are."""

from __future__ import annotations

from corral.engines.llama.vulkan import VulkanDevice, choose_devices

FIRST = "GPU-8a1c2d3e-0000-4000-8000-000000000001"
SECOND = "GPU-8a1c2d3e-0000-4000-8000-000000000002"
LISTED = (
    VulkanDevice(name="llvmpipe", uuid="GPU-6d657361-3232-2e33-2e36-000000000000", pci=None),
    VulkanDevice(name="NVIDIA GeForce RTX 5070 Ti", uuid=SECOND, pci="0000:02:00.0"),
    VulkanDevice(name="NVIDIA GeForce RTX 5070 Ti", uuid=FIRST, pci="0000:01:00.0"),
    VulkanDevice(name="AMD Radeon RX 7900 XTX (RADV NAVI31)", uuid="GPU-00000000-0300", pci="0000:03:00.0"),
)


def test_each_of_two_equal_gpus_is_found_by_its_uuid() -> None:
    assert choose_devices(LISTED, [FIRST]) == "2"
    assert choose_devices(LISTED, [SECOND]) == "1"


def test_gpus_of_one_task_keep_their_order() -> None:
    assert choose_devices(LISTED, [FIRST, SECOND]) == "2,1"


def test_gpu_is_found_by_its_place_on_the_bus() -> None:
    assert choose_devices(LISTED, ["0000:03:00.0"]) == "3"


def test_nothing_is_said_where_a_gpu_is_not_known_to_vulkan() -> None:
    assert choose_devices(LISTED, [FIRST, "GPU-9"]) is None
    assert choose_devices(LISTED, []) is None
    assert choose_devices((), [FIRST]) is None
