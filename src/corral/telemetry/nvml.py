"""GPUs as NVIDIA's driver sees them, through NVML.

Reading is all or what can be had: a GPU that fell off the bus is reported as lost next to those that work, and a value
that the driver does not give is None. The library is found by the loader under its own name (`libnvidia-ml.so.1`), so
whichever library has that name answers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from corral.hardware.makers import NVIDIA
from corral.units import Bytes

_T = TypeVar("_T")


class NvmlStatus(StrEnum):
    """Whether the driver could be asked."""

    OK = "ok"
    NO_LIBRARY = "no_library"
    """There is no `libnvidia-ml.so.1`: no NVIDIA driver is installed, or it is not passed into this container."""
    NO_DRIVER = "no_driver"
    """The library is here, the kernel module is not loaded."""
    VERSION_MISMATCH = "version_mismatch"
    """The driver was upgraded and the old kernel module still runs."""
    NO_PERMISSION = "no_permission"
    FAILED = "failed"


class GpuState(StrEnum):
    """Whether a GPU answers."""

    OK = "ok"
    LOST = "lost"
    """It fell off the bus or waits for a reset; nothing runs on it before one."""
    FAILED = "failed"
    """The driver gives no handle to it, for another reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PcieLink:
    """How a GPU is connected."""

    generation: int
    width: int
    """Lanes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGpu:
    """One GPU; what the driver does not report is None."""

    index: int
    """Its place as the driver numbers it, by PCI bus; CUDA can number otherwise, so use `uuid` to name it."""
    maker: str = NVIDIA
    pci: str | None = None
    """`0000:03:00.0`; only read of GPUs of AMD and Intel, which have no UUID."""
    is_integrated: bool = False
    """A part of the processor, without memory of its own; it is only used where the cluster file lists it."""
    state: GpuState = GpuState.OK
    uuid: str | None = None
    """`GPU-` and a UUID."""
    name: str | None = None
    """The driver's name for it: `NVIDIA GeForce RTX 5070 Ti`."""
    memory_total: Bytes | None = None
    memory_used: Bytes | None = None
    """By everyone, the driver's own share included."""
    cuda_capability: tuple[int, int] | None = None
    power_limit_w: float | None = None
    power_limit_default_w: float | None = None
    """The limit where none is set."""
    power_limit_range_w: tuple[float, float] | None = None
    """The least and the most that this GPU's limit can be set to; any other value is refused (C02)."""
    pcie: PcieLink | None = None
    """At this moment: an idle GPU lowers its generation to save power."""
    pcie_best: PcieLink | None = None
    """The best link that GPU and slot have in common."""
    temperature_c: int | None = None
    ecc_uncorrected: int | None = None
    """Memory errors that could not be corrected since the driver loaded; most consumer GPUs do not count them."""
    problem: str | None = None
    """The driver's message, when `state` is not ok."""

    @property
    def identity(self) -> str | None:
        """What names it to an engine: NVIDIA's UUID, or the PCI address of any other."""
        return self.uuid or self.pci


@dataclass(frozen=True, slots=True, kw_only=True)
class NvmlReading:
    """Everything that one look at the driver gave."""

    status: NvmlStatus
    reason: str = ""
    """Why nothing could be read; empty when it could."""
    driver_version: str | None = None
    cuda_version: tuple[int, int] | None = None
    """The newest CUDA that the driver runs."""
    gpus: tuple[FoundGpu, ...] = ()
    """In the order of `index`; empty when the driver could not be asked."""


def find_gpus() -> NvmlReading:
    """Ask the driver for every GPU. Never raises for what is missing or broken; blocks for up to a second."""
    import pynvml

    try:
        with open_session(pynvml):
            count = pynvml.nvmlDeviceGetCount()
            return NvmlReading(
                status=NvmlStatus.OK,
                driver_version=ask(pynvml, pynvml.nvmlSystemGetDriverVersion),
                cuda_version=_parse_cuda_version(ask(pynvml, pynvml.nvmlSystemGetCudaDriverVersion)),
                gpus=tuple(_find_gpu(pynvml, index) for index in range(count)),
            )
    except pynvml.NVMLError as error:
        return NvmlReading(status=find_status(pynvml, error), reason=describe_error(error))


@contextmanager
def open_session(nvml: Any) -> Generator[None]:  # Any: the binding is untyped, here and below
    """Keep the driver open. Raises: NVMLError when it cannot be asked."""
    nvml.nvmlInit()
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _find_gpu(nvml: Any, index: int) -> FoundGpu:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = _read_memory(nvml, handle)
    except nvml.NVMLError as error:
        return _make_broken_gpu(nvml, index, error)
    power = ask(nvml, nvml.nvmlDeviceGetPowerManagementLimit, handle)
    usual = ask(nvml, nvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)
    bounds = ask(nvml, nvml.nvmlDeviceGetPowerManagementLimitConstraints, handle)
    return FoundGpu(
        index=index,
        uuid=ask(nvml, nvml.nvmlDeviceGetUUID, handle),
        name=ask(nvml, nvml.nvmlDeviceGetName, handle),
        memory_total=memory[0],
        memory_used=memory[1],
        cuda_capability=ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle),
        power_limit_w=None if power is None else power / 1000,
        power_limit_default_w=None if usual is None else usual / 1000,
        power_limit_range_w=None if bounds is None else (bounds[0] / 1000, bounds[1] / 1000),
        pcie=_read_link(nvml, handle, nvml.nvmlDeviceGetCurrPcieLinkGeneration, nvml.nvmlDeviceGetCurrPcieLinkWidth),
        pcie_best=_read_link(nvml, handle, nvml.nvmlDeviceGetMaxPcieLinkGeneration, nvml.nvmlDeviceGetMaxPcieLinkWidth),
        temperature_c=ask(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        ecc_uncorrected=count_memory_errors(nvml, handle),
    )


def _read_memory(nvml: Any, handle: Any) -> tuple[Bytes | None, Bytes | None]:
    """Read total and used memory; unknown where GPU and processor share it. Raises: NVMLError of a lost GPU."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as error:
        if is_lost(nvml, error):
            raise
        return None, None
    return Bytes(int(memory.total)), Bytes(int(memory.used))


def _read_link(nvml: Any, handle: Any, generation: Callable[..., int], width: Callable[..., int]) -> PcieLink | None:
    link = ask(nvml, generation, handle), ask(nvml, width, handle)
    return None if link[0] is None or link[1] is None else PcieLink(generation=link[0], width=link[1])


def _make_broken_gpu(nvml: Any, index: int, error: Exception) -> FoundGpu:
    """Describe what is still known of a GPU that does not answer: often its name and UUID, from the driver's memory."""
    handle = ask(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
    return FoundGpu(
        index=index,
        state=GpuState.LOST if is_lost(nvml, error) else GpuState.FAILED,
        uuid=None if handle is None else ask(nvml, nvml.nvmlDeviceGetUUID, handle),
        name=None if handle is None else ask(nvml, nvml.nvmlDeviceGetName, handle),
        problem=describe_error(error),
    )


def ask(nvml: Any, question: Callable[..., _T], *arguments: Any) -> _T | None:
    """Ask for one value; None when the driver or the GPU does not give it."""
    try:
        return question(*arguments)
    except nvml.NVMLError:
        return None


def _parse_cuda_version(number: int | None) -> tuple[int, int] | None:
    """Read CUDA's spelling of a version: 12080 is 12.8."""
    return None if number is None else (number // 1000, number % 1000 // 10)


def count_memory_errors(nvml: Any, handle: Any) -> int | None:
    """Count the memory errors that could not be corrected since the driver loaded; None where a GPU does not."""
    return ask(
        nvml, nvml.nvmlDeviceGetTotalEccErrors, handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
    )


def find_status(nvml: Any, error: Exception) -> NvmlStatus:
    """Say what an NVMLError means for asking at all."""
    return {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: NvmlStatus.NO_LIBRARY,
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: NvmlStatus.NO_DRIVER,
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: NvmlStatus.VERSION_MISMATCH,
        nvml.NVML_ERROR_NO_PERMISSION: NvmlStatus.NO_PERMISSION,
    }.get(_read_number(error), NvmlStatus.FAILED)


def is_lost(nvml: Any, error: Exception) -> bool:
    """Whether an NVMLError means that the GPU fell off the bus or waits for a reset."""
    return _read_number(error) in {nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED}


def describe_error(error: Exception) -> str:
    """Return the driver's message for an NVMLError."""
    return str(error).rstrip(".")


def _read_number(error: Exception) -> int:
    return int(getattr(error, "value", -1))
