"""Checks of this machine: what works, what does not, and the one thing to do about it.

A finding is the result of one check with its remedy, in the one shape that `corral doctor` prints.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from corral.hardware.makers import NVIDIA
from corral.telemetry.kernel_gpus import find_kernel_gpus
from corral.telemetry.machine import Machine, describe
from corral.telemetry.nvml import FoundGpu, GpuState, NvmlReading, NvmlStatus, find_gpus
from corral.units import format_bytes


class State(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    """Works, and will hurt."""
    ERROR = "error"
    """Does not work."""
    UNKNOWN = "unknown"
    """Could not be checked; it can be well or ill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    """The thing that was checked, in a word or two: `driver`, `GPU 0`, `disk`."""
    state: State
    what: str
    """The fact with the value seen, lower case, without a final period."""
    fix: str | None = None
    """One imperative or a command; None when there is nothing to fix."""


OLDEST_PYTHON = (3, 11)
MEMORY_TIGHT = 2 * 2**30
"""Below this, a small language model, the database and the server do not fit side by side."""
DISK_TIGHT = 10 * 2**30
"""A few models and a night's outputs."""
DISK_SPENT = 2**30
"""PostgreSQL stops for good when it cannot write; leave it room."""
OPEN_FILES_NEEDED = 4096
"""Connections, engines' pipes and open artifacts of a busy server, with room to spare; many systems start at 1024."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """All that an examination needs."""

    python: tuple[int, int, int]
    machine: Machine
    data_dir: Path
    open_files: int | None
    """The soft limit of this process; None when there is none."""
    nvml: NvmlReading
    other_gpus: tuple[FoundGpu, ...] = ()
    """Of AMD and Intel, integrated ones among them."""


def look(data_dir: Path) -> tuple[Finding, ...]:
    """Examine this machine. Blocks while the driver answers, up to a second."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    nvml = find_gpus()
    return examine(
        Observations(
            python=sys.version_info[:3],
            machine=describe(data_dir),
            data_dir=data_dir,
            open_files=None if soft == resource.RLIM_INFINITY else soft,
            nvml=nvml,
            other_gpus=find_kernel_gpus(after=len(nvml.gpus)),
        )
    )


def examine(observations: Observations) -> tuple[Finding, ...]:
    """Judge what was seen; the same input gives the same findings, in the same order."""
    return (
        _check_python(observations.python),
        _check_driver(observations),
        *(_check_gpu(gpu) for gpu in (*observations.nvml.gpus, *observations.other_gpus)),
        _describe_processor(observations.machine),
        _check_memory(observations.machine),
        _check_disk(observations.machine, observations.data_dir),
        _check_open_files(observations.open_files),
    )


def _check_python(version: tuple[int, int, int]) -> Finding:
    text = ".".join(str(part) for part in version)
    if version[:2] < OLDEST_PYTHON:
        needed = ".".join(str(part) for part in OLDEST_PYTHON)
        return Finding(name="Python", state=State.ERROR, what=text, fix=f"install Python {needed} or newer")
    return Finding(name="Python", state=State.OK, what=text)


def _check_driver(observations: Observations) -> Finding:
    nvml, machine = observations.nvml, observations.machine
    match nvml.status:
        case NvmlStatus.OK:
            return _describe_working_driver(nvml, machine)
        case NvmlStatus.NO_LIBRARY:
            return _explain_missing_library(machine, others=observations.other_gpus)
        case NvmlStatus.NO_DRIVER:
            fix = "run `sudo modprobe nvidia`; if that fails, reinstall the driver for the running kernel"
        case NvmlStatus.VERSION_MISMATCH:
            fix = "restart the machine, so that the kernel loads the driver that is installed"
        case NvmlStatus.NO_PERMISSION:
            fix = "give this user access to /dev/nvidia* (`ls -l /dev/nvidia*` shows the group)"
        case NvmlStatus.FAILED:
            fix = "run `nvidia-smi` and `sudo dmesg | grep -i nvrm` to see what the driver reports"
        case _:
            assert_never(nvml.status)
    return Finding(name="driver", state=State.ERROR, what=f"NVML does not answer: {nvml.reason}", fix=fix)


def _describe_working_driver(nvml: NvmlReading, machine: Machine) -> Finding:
    version = f"NVIDIA driver {nvml.driver_version or 'of unknown version'}"
    cuda = f", CUDA up to {nvml.cuda_version[0]}.{nvml.cuda_version[1]}" if nvml.cuda_version else ""
    count = len(nvml.gpus)
    what = f"{version}{cuda}, {count} GPU{'' if count == 1 else 's'}"
    if machine.nvidia_gpus is not None and machine.nvidia_gpus > count:
        fix = "run `sudo dmesg | grep -i nvrm`: the driver refused a GPU"
        return Finding(name="driver", state=State.WARNING, what=f"{what} of {machine.nvidia_gpus} on the bus", fix=fix)
    return Finding(name="driver", state=State.OK, what=what)


def _explain_missing_library(machine: Machine, *, others: tuple[FoundGpu, ...]) -> Finding:
    if not machine.nvidia_gpus and any(not gpu.is_integrated for gpu in others):
        return Finding(name="driver", state=State.OK, what="no NVIDIA GPU; the kernel drives the others")
    match machine.nvidia_gpus:
        case None:
            what = "no NVIDIA driver library (libnvidia-ml.so.1); whether there is a GPU cannot be seen from here"
            fix = "in a container, pass the GPUs in (`--gpus all`); else install the NVIDIA driver"
            return Finding(name="driver", state=State.UNKNOWN, what=what, fix=fix)
        case 0:
            return Finding(name="driver", state=State.OK, what="no NVIDIA GPU; tasks run on the processor")
        case count:
            what = f"{count} NVIDIA GPU{'' if count == 1 else 's'} on the bus and no driver library (libnvidia-ml.so.1)"
            fix = "install the NVIDIA driver; in a container, pass the GPUs in (`--gpus all`)"
            return Finding(name="driver", state=State.ERROR, what=what, fix=fix)


def _check_gpu(gpu: FoundGpu) -> Finding:
    name = f"GPU {gpu.index}"
    if gpu.state is not GpuState.OK:
        what = f"{gpu.name or 'unknown model'} is {gpu.state.value}: {gpu.problem}"
        fix = "restart the machine; if it happens again, check its power cable and slot, and `sudo dmesg | grep Xid`"
        return Finding(name=name, state=State.ERROR, what=what, fix=fix)
    what = ", ".join(_list_gpu_facts(gpu))
    if gpu.ecc_uncorrected:
        what += f"; its memory had errors that could not be corrected ({gpu.ecc_uncorrected} since the driver loaded)"
        fix = f"stop what uses it and run `sudo nvidia-smi --gpu-reset -i {gpu.index}`; with new errors, replace it"
        return Finding(name=name, state=State.ERROR, what=what, fix=fix)
    if gpu.is_integrated:
        what += "; integrated, so it is a device only where the cluster file lists it"
    elif gpu.maker != NVIDIA and gpu.memory_total is None:
        fix = f"list `{{index: {gpu.index}, memory: 16Gi}}` in the node's `gpus` in the cluster file, with its own size"
        return Finding(name=name, state=State.WARNING, what=what, fix=fix)
    return Finding(name=name, state=State.OK, what=what)


def _list_gpu_facts(gpu: FoundGpu) -> list[str]:
    facts = [gpu.name or _describe_unknown(gpu), _describe_memory(gpu)]
    if gpu.temperature_c is not None:
        facts.append(f"{gpu.temperature_c} °C")
    if gpu.power_limit_w is not None:
        facts.append(f"limit {gpu.power_limit_w:.0f} W")
    return facts


def _describe_unknown(gpu: FoundGpu) -> str:
    return "unknown model" if gpu.maker == NVIDIA else f"unknown model of {gpu.maker} at {gpu.pci}"


def _describe_memory(gpu: FoundGpu) -> str:
    if gpu.memory_total is None:
        return "memory unknown"
    used = "an unknown part" if gpu.memory_used is None else format_bytes(gpu.memory_used)
    return f"{used} of {format_bytes(gpu.memory_total)} used"


def _describe_processor(machine: Machine) -> Finding:
    what = f"{machine.cpu_model or 'unknown model'}, {machine.cpu_cores} threads"
    return Finding(name="processor", state=State.OK, what=what)


def _check_memory(machine: Machine) -> Finding:
    what = f"{format_bytes(machine.memory_available)} of {format_bytes(machine.memory_total)} available"
    if machine.memory_available < MEMORY_TIGHT:
        fix = "stop other programs, or give tasks smaller models"
        return Finding(name="memory", state=State.WARNING, what=what, fix=fix)
    return Finding(name="memory", state=State.OK, what=what)


def _check_disk(machine: Machine, data_dir: Path) -> Finding:
    what = f"{format_bytes(machine.disk_free)} free for {data_dir}"
    fix = "free space with `corral gc` and `corral models rm NAME`, or move the data directory"
    if machine.disk_free < DISK_SPENT:
        return Finding(name="disk", state=State.ERROR, what=what, fix=fix)
    if machine.disk_free < DISK_TIGHT:
        return Finding(name="disk", state=State.WARNING, what=what, fix=fix)
    return Finding(name="disk", state=State.OK, what=what)


def _check_open_files(limit: int | None) -> Finding:
    if limit is None:
        return Finding(name="open files", state=State.OK, what="no limit")
    if limit < OPEN_FILES_NEEDED:
        fix = "run `ulimit -n 65536` first, or set `LimitNOFILE=65536` in the systemd unit"
        return Finding(name="open files", state=State.WARNING, what=f"at most {limit} per process", fix=fix)
    return Finding(name="open files", state=State.OK, what=f"at most {limit} per process")
