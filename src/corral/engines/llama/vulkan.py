"""Which of Vulkan's devices the GPUs of a slot are: a llama-server for Vulkan takes all where none are named.

`GGML_VK_VISIBLE_DEVICES` counts devices as `vkEnumeratePhysicalDevices` lists them, and neither the library nor
llama-server names them by what a driver calls a GPU. So a process of its own asks the library: a driver that crashes
takes only that process along. `python -m corral.engines.llama.vulkan` prints one JSON object for each device.

Layouts and numbers are those of the Vulkan specification (VkPhysicalDeviceIDProperties, VK_EXT_pci_bus_info). On
NVIDIA's GPUs the device's UUID is the one of NVML and CUDA.

Belongs here: listing the devices, and finding those of a slot among them.
Does not belong here: which GPUs a slot has.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import cast
from uuid import UUID

VISIBLE = "GGML_VK_VISIBLE_DEVICES"
_LIBRARY = "libvulkan.so.1"
_ANSWER_S = 20.0
"""As for llama-server itself: drivers that wake a GPU up take seconds."""
_API_1_1 = (1 << 22) | (1 << 12)
_CREATE_INSTANCE = 1
_PROPERTIES_2 = 1000059001
_ID_PROPERTIES = 1000071004
_PCI_BUS_INFO = 1000212000
_PROPERTIES_BYTES = 1024
"""VkPhysicalDeviceProperties has 824 on 64-bit machines."""
_NAME = slice(20, 20 + 256)
"""Of the device in VkPhysicalDeviceProperties, after five numbers of 32 bits."""
_UNKNOWN = 0xFFFFFFFF
"""Stays where a driver does not report its place on the bus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VulkanDevice:
    """One device, in the order of Vulkan."""

    name: str
    uuid: str
    """`GPU-` and a UUID, as NVML writes those of NVIDIA's GPUs."""
    pci: str | None
    """`0000:01:00.0`; None where the driver does not report it."""


def choose_devices(listed: Sequence[VulkanDevice], gpus: Sequence[str]) -> str | None:
    """Return `GGML_VK_VISIBLE_DEVICES` for GPUs named by UUID or PCI address; None when one is not listed."""
    numbers = [
        next((number for number, device in enumerate(listed) if gpu in (device.uuid, device.pci)), None) for gpu in gpus
    ]
    known = [str(number) for number in numbers if number is not None]
    return ",".join(known) if gpus and len(known) == len(gpus) else None


def list_devices(environment: Mapping[str, str]) -> tuple[VulkanDevice, ...]:
    """Return Vulkan's devices in a process's environment; empty where there is no Vulkan, or it fails. Blocks."""
    try:
        answer = subprocess.run(
            (sys.executable, "-P", "-m", "corral.engines.llama.vulkan"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            timeout=_ANSWER_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(VulkanDevice(**json.loads(line)) for line in answer.stdout.splitlines())


class _ApplicationInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("version", ctypes.c_uint32),
        ("engine_name", ctypes.c_char_p),
        ("engine_version", ctypes.c_uint32),
        ("api_version", ctypes.c_uint32),
    )


class _InstanceInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.POINTER(_ApplicationInfo)),
        ("layer_count", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("extension_count", ctypes.c_uint32),
        ("extensions", ctypes.c_void_p),
    )


class _PciBusInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("domain", ctypes.c_uint32),
        ("bus", ctypes.c_uint32),
        ("device", ctypes.c_uint32),
        ("function", ctypes.c_uint32),
    )


class _IdProperties(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("device_uuid", ctypes.c_uint8 * 16),
        ("driver_uuid", ctypes.c_uint8 * 16),
        ("device_luid", ctypes.c_uint8 * 8),
        ("node_mask", ctypes.c_uint32),
        ("luid_valid", ctypes.c_uint32),
    )


class _Properties2(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("properties", ctypes.c_uint8 * _PROPERTIES_BYTES),
    )


def _enumerate() -> list[VulkanDevice]:
    """Ask the library, in this process. Raises: OSError when there is none, or it fails."""
    vulkan = ctypes.CDLL(_LIBRARY)
    application = _ApplicationInfo(api_version=_API_1_1)
    info = _InstanceInfo(type=_CREATE_INSTANCE, application=ctypes.pointer(application))
    instance = ctypes.c_void_p()
    _check(vulkan.vkCreateInstance(ctypes.byref(info), None, ctypes.byref(instance)))
    count = ctypes.c_uint32()
    _check(vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None))
    handles = (ctypes.c_void_p * count.value)()
    _check(vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles))
    return [_describe(vulkan, cast("int", handle)) for handle in handles[: count.value]]


def _describe(vulkan: ctypes.CDLL, handle: int) -> VulkanDevice:
    pci = _PciBusInfo(type=_PCI_BUS_INFO, domain=_UNKNOWN)
    identity = _IdProperties(type=_ID_PROPERTIES, next=ctypes.addressof(pci))
    properties = _Properties2(type=_PROPERTIES_2, next=ctypes.addressof(identity))
    vulkan.vkGetPhysicalDeviceProperties2(ctypes.c_void_p(handle), ctypes.byref(properties))
    name = bytes(properties.properties)[_NAME].split(b"\0")[0].decode(errors="replace")
    place = None
    if pci.domain != _UNKNOWN:
        place = f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.{pci.function:x}"
    return VulkanDevice(name=name, uuid=f"GPU-{UUID(bytes=bytes(identity.device_uuid))}", pci=place)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(f"Vulkan answered {result}")


if __name__ == "__main__":
    for listed_device in _enumerate():
        sys.stdout.write(json.dumps(asdict(listed_device)) + "\n")
