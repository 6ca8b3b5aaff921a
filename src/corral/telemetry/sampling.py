"""A GPU's state from second to second, from NVML: temperature, clocks, power, why it is not faster, and who uses it.

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
from corral.telemetry.nvml import GpuState, ask, count_memory_errors, describe_error, is_lost, open_session
from corral.units import Bytes


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


HARDWARE_SLOWDOWNS = (Slowed.HARDWARE_THERMAL, Slowed.POWER_BRAKE)
"""Heat or power that the GPU cannot bear; the driver's own limits are everyday, and no fault."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that uses a GPU; what its driver does not report is None."""

    pid: int
    """As the driver numbers it: in a container, this is not a number of the container's own processes."""
    memory: Bytes | None = None
    busy: float | None = None
    """The share of the time in which it computed since the last look, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardUse:
    """The use of one GPU at one moment; what its driver does not report is None."""

    identity: str | None
    """Its UUID, or the PCI address of one without."""
    state: GpuState = GpuState.OK
    problem: str | None = None
    """The driver's message when `state` is not ok."""
    total: Bytes | None = None
    used: Bytes | None = None
    """By everyone, the driver's own share included."""
    busy: float | None = None
    """The share of the time in which anything computed, 0 to 1."""
    power_w: float | None = None
    """Watts that it draws."""
    energy_j: float | None = None
    """Joules that it drew since its driver was loaded; GPUs older than Volta do not count them."""
    temperature_c: int | None = None
    slowed: tuple[Slowed, ...] | None = None
    ecc_uncorrected: int | None = None
    """Memory errors that could not be corrected since its driver was loaded."""
    processes: tuple[GpuProcess, ...] | None = None
    """None where the driver does not list them."""


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
        self._newest_us: dict[int, int] = {}
        """Of the samples of processes that the driver gave, by GPU."""

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
            ecc_uncorrected=count_memory_errors(nvml, handle),
        )

    def read_use(self, gpu: int) -> CardUse:
        """Look at the memory, the processes, power, heat and errors of a GPU; fewer questions than those of `look`."""
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(gpu)
            uuid = self._ask(nvml.nvmlDeviceGetUUID, handle)
            memory = self._require(nvml.nvmlDeviceGetMemoryInfo, handle)
            utilization = self._require(nvml.nvmlDeviceGetUtilizationRates, handle)
        except nvml.NVMLError as error:
            return self._describe_broken(gpu, error)
        power = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        energy = self._ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        return CardUse(
            identity=uuid,
            total=None if memory is None else Bytes(int(memory.total)),
            used=None if memory is None else Bytes(int(memory.used)),
            busy=None if utilization is None else utilization.gpu / 100,
            power_w=None if power is None else power / 1000,
            energy_j=None if energy is None else energy / 1000,
            temperature_c=self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            slowed=self._read_slowed(handle),
            ecc_uncorrected=count_memory_errors(nvml, handle),
            processes=self._list_processes(gpu, handle),
        )

    def _describe_broken(self, gpu: int, error: Exception) -> CardUse:
        nvml = self._nvml
        handle = self._ask(nvml.nvmlDeviceGetHandleByIndex, gpu)
        return CardUse(
            identity=None if handle is None else self._ask(nvml.nvmlDeviceGetUUID, handle),
            state=GpuState.LOST if is_lost(nvml, error) else GpuState.FAILED,
            problem=describe_error(error),
        )

    def _list_processes(self, gpu: int, handle: Any) -> tuple[GpuProcess, ...] | None:
        """List a GPU's processes; one that computes and draws is in both of the driver's lists with all its memory."""
        nvml = self._nvml
        lists = [
            self._ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle),
            self._ask(nvml.nvmlDeviceGetGraphicsRunningProcesses, handle),
        ]
        known = [processes for processes in lists if processes is not None]
        if not known:
            return None
        sizes: dict[int, int | None] = {}
        for process in (process for processes in known for process in processes):
            known_sizes = [size for size in (sizes.get(process.pid), process.usedGpuMemory) if size is not None]
            sizes[process.pid] = max(known_sizes, default=None)
        shares = self._read_shares(gpu, handle) if sizes else {}
        return tuple(
            GpuProcess(
                pid=pid,
                memory=None if size is None else Bytes(size),
                busy=None if shares is None else shares.get(pid, 0.0),
            )
            for pid, size in sizes.items()
        )

    def _read_shares(self, gpu: int, handle: Any) -> dict[int, float] | None:
        """Ask what share of the time each process computed since the last look; None where that is not reported."""
        nvml = self._nvml
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(handle, self._newest_us.get(gpu, 0))
        except nvml.NVMLError_NotFound:  # nothing computed since then
            return {}
        except nvml.NVMLError:
            return None
        self._newest_us[gpu] = max((sample.timeStamp for sample in samples), default=self._newest_us.get(gpu, 0))
        newest = sorted(samples, key=lambda sample: sample.timeStamp)
        return {sample.pid: sample.smUtil / 100 for sample in newest}

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
