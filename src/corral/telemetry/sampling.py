"""A GPU's state from second to second: temperature, clocks, power, and why it is not faster, from NVML.

A sampler keeps the driver open between looks (opening it takes up to a second). What a driver does not give is None; a
GPU that stops answering is a sample with its state, not an exception. Reasons for lower clocks are the bits of
`nvmlDeviceGetCurrentClocksEventReasons`, as words
(https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from corral.errors import CorralError, Kind
from corral.telemetry.nvml import GpuState, ask, describe_error, is_lost, open_session

_UNCORRECTED, _VOLATILE = 1, 0  # NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC: since the driver loaded


class Slowed(StrEnum):
    """Why a GPU's clocks are not at their highest."""

    IDLE = "idle"
    CLOCKS_SET = "clocks set by the user"
    POWER_CAP = "power cap"
    """The power limit does its work; no fault."""
    HARDWARE = "hardware slowdown"
    """Clocks halved or worse, for heat or for power; one of the two below has the reason."""
    SYNC_BOOST = "sync boost"
    SOFTWARE_THERMAL = "thermal slowdown by the driver"
    HARDWARE_THERMAL = "thermal slowdown by the hardware"
    POWER_BRAKE = "power brake"
    """Something outside of the GPU, such as the power supply, made it slow down."""
    DISPLAY = "display clocks"


_BITS = {
    0x1: Slowed.IDLE,
    0x2: Slowed.CLOCKS_SET,
    0x4: Slowed.POWER_CAP,
    0x8: Slowed.HARDWARE,
    0x10: Slowed.SYNC_BOOST,
    0x20: Slowed.SOFTWARE_THERMAL,
    0x40: Slowed.HARDWARE_THERMAL,
    0x80: Slowed.POWER_BRAKE,
    0x100: Slowed.DISPLAY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One GPU at one moment; what the driver does not report is None."""

    at_s: float
    """Seconds since the watching began, on a clock that never jumps."""
    gpu: int
    state: GpuState = GpuState.OK
    problem: str | None = None
    """The driver's message when `state` is not ok."""
    temperature_c: int | None = None
    memory_temperature_c: int | None = None
    utilization: int | None = None
    """Percent of the time since the last look in which something ran."""
    sm_mhz: int | None = None
    memory_mhz: int | None = None
    power_w: float | None = None
    slowed: tuple[Slowed, ...] | None = None
    fan_percent: int | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    pcie_replays: int | None = None
    """Transfers that had to be repeated since the driver loaded."""
    ecc_uncorrected: int | None = None
    """Memory errors that could not be corrected since the driver loaded; most consumer GPUs do not count them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLimits:
    """The fixed properties of a GPU; what its driver does not report is None."""

    gpu: int
    name: str | None = None
    uuid: str | None = None
    slowdown_c: int | None = None
    """From here on the hardware halves its clocks."""
    shutdown_c: int | None = None
    power_limit_w: float | None = None
    sm_mhz: int | None = None
    """The highest clock."""
    pcie_width: int | None = None
    """The widest link of GPU and slot."""
    is_persistent: bool | None = None
    """Whether the driver stays loaded while the GPU is unused."""


class NoSuchGpuError(CorralError):
    """A GPU was named that this machine does not have."""

    code: ClassVar[str] = "loadtest.no_such_gpu"
    kind: ClassVar[Kind] = Kind.MISSING


class NoGpusError(CorralError):
    """The driver cannot be asked, or has no GPU."""

    code: ClassVar[str] = "loadtest.no_gpus"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class Sampler:
    """Looks at GPUs again and again; made by `open_sampler`."""

    def __init__(self, nvml: Any, gpus: Sequence[int]) -> None:  # Any: the binding is untyped, here and below
        self._nvml = nvml
        self.gpus = tuple(gpus)

    def read_limits(self, gpu: int) -> GpuLimits:
        """Ask a GPU for what does not change."""
        nvml = self._nvml
        handle = self._ask(nvml.nvmlDeviceGetHandleByIndex, gpu)
        if handle is None:
            return GpuLimits(gpu=gpu)
        power = self._ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        return GpuLimits(
            gpu=gpu,
            name=self._ask(nvml.nvmlDeviceGetName, handle),
            uuid=self._ask(nvml.nvmlDeviceGetUUID, handle),
            slowdown_c=self._read_threshold(handle, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
            shutdown_c=self._read_threshold(handle, nvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN),
            power_limit_w=None if power is None else power / 1000,
            sm_mhz=self._ask(nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
            pcie_width=self._ask(nvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
            is_persistent=None
            if (mode := self._ask(nvml.nvmlDeviceGetPersistenceMode, handle)) is None
            else bool(mode),
        )

    def look(self, gpu: int, at_s: float) -> Sample:
        """Take one sample of a GPU."""
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(gpu)
            temperature = self._require(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
            utilization = self._require(nvml.nvmlDeviceGetUtilizationRates, handle)
        except nvml.NVMLError as error:
            state = GpuState.LOST if is_lost(nvml, error) else GpuState.FAILED
            return Sample(at_s=at_s, gpu=gpu, state=state, problem=describe_error(error))
        power = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        return Sample(
            at_s=at_s,
            gpu=gpu,
            temperature_c=temperature,
            memory_temperature_c=self._read_memory_temperature(handle),
            utilization=None if utilization is None else int(utilization.gpu),
            sm_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            memory_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
            power_w=None if power is None else power / 1000,
            slowed=self._read_slowed(handle),
            fan_percent=self._ask(nvml.nvmlDeviceGetFanSpeed, handle),
            pcie_generation=self._ask(nvml.nvmlDeviceGetCurrPcieLinkGeneration, handle),
            pcie_width=self._ask(nvml.nvmlDeviceGetCurrPcieLinkWidth, handle),
            pcie_replays=self._ask(nvml.nvmlDeviceGetPcieReplayCounter, handle),
            ecc_uncorrected=self._ask(nvml.nvmlDeviceGetTotalEccErrors, handle, _UNCORRECTED, _VOLATILE),
        )

    def _require(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """Ask for a value; None when the GPU does not give it. Raises: NVMLError when the GPU does not answer."""
        nvml = self._nvml
        try:
            return question(*arguments)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
            return None

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        return ask(self._nvml, question, *arguments)

    def _read_threshold(self, handle: Any, threshold: int) -> int | None:
        """Ask for a temperature; a driver that knows none can answer 0."""
        return self._ask(self._nvml.nvmlDeviceGetTemperatureThreshold, handle, threshold) or None

    def _read_slowed(self, handle: Any) -> tuple[Slowed, ...] | None:
        bits = self._ask(self._nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        if bits is None:  # drivers before 535 know the question by its old name only
            bits = self._ask(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
        return None if bits is None else decode(bits)

    def _read_memory_temperature(self, handle: Any) -> int | None:
        nvml = self._nvml
        values = self._ask(nvml.nvmlDeviceGetFieldValues, handle, [nvml.NVML_FI_DEV_MEMORY_TEMP])
        if not values or values[0].nvmlReturn != nvml.NVML_SUCCESS:
            return None
        return int(values[0].value.uiVal) or None


@contextmanager
def open_sampler(gpus: Sequence[int] | None = None) -> Generator[Sampler]:
    """Open the driver for the GPUs with these indexes, or for all.

    Raises: NoGpusError when the driver cannot be asked, NoSuchGpuError when it has no such GPU.
    """
    import pynvml

    try:
        with open_session(pynvml):
            yield Sampler(pynvml, _choose(pynvml, gpus))
    except pynvml.NVMLError as error:
        raise NoGpusError(f"NVML does not answer: {describe_error(error)}", hint="run `corral doctor`") from error


def decode(bits: int) -> tuple[Slowed, ...]:
    """Turn the bits of the driver into words, in the order of the bits; bits that have no name are left out."""
    return tuple(reason for bit, reason in _BITS.items() if bits & bit)


def _choose(nvml: Any, gpus: Sequence[int] | None) -> Sequence[int]:
    count: int = nvml.nvmlDeviceGetCount()
    if not count:
        raise NoGpusError("the driver has no GPU", hint="run `corral doctor`")
    missing = [gpu for gpu in gpus or () if not 0 <= gpu < count]
    if missing:
        what = f"no GPU {', '.join(map(str, missing))}: the driver has {count}, numbered from 0"
        raise NoSuchGpuError(what, hint="run `corral doctor` to see them")
    return range(count) if gpus is None else sorted(set(gpus))
