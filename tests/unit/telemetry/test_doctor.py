"""What the doctor says about a machine, and the remedy it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from corral.telemetry.doctor import Finding, Observations, State, examine
from corral.telemetry.machine import Machine
from corral.telemetry.nvml import FoundGpu, GpuState, NvmlReading, NvmlStatus
from corral.units import Bytes

GIB = 2**30
MACHINE = Machine(
    hostname="here",
    cpu_model="A Processor",
    cpu_cores=8,
    memory_total=Bytes(32 * GIB),
    memory_available=Bytes(30 * GIB),
    disk_free=Bytes(100 * GIB),
    nvidia_gpus=0,
)
HEALTHY = Observations(
    python=(3, 12, 1),
    machine=MACHINE,
    data_dir=Path("/data"),
    open_files=65536,
    nvml=NvmlReading(status=NvmlStatus.NO_LIBRARY, reason="NVML Shared Library Not Found"),
)


def named(looked: Observations, name: str) -> Finding:
    (finding,) = [finding for finding in examine(looked) if finding.name == name]
    return finding


def test_a_healthy_machine_has_nothing_to_mend() -> None:
    findings = examine(HEALTHY)

    assert {finding.state for finding in findings} == {State.OK}
    assert all(finding.fix is None for finding in findings)


def test_everything_that_is_not_well_names_its_fix() -> None:
    ill = replace(
        HEALTHY,
        python=(3, 10, 0),
        open_files=1024,
        machine=replace(MACHINE, memory_available=Bytes(GIB), disk_free=Bytes(0), nvidia_gpus=1),
    )

    assert all(finding.fix for finding in examine(ill) if finding.state is not State.OK)
    assert sum(finding.state is not State.OK for finding in examine(ill)) == 5


def test_a_card_on_the_bus_without_a_driver_is_an_error() -> None:
    finding = named(replace(HEALTHY, machine=replace(MACHINE, nvidia_gpus=2)), "driver")

    assert finding.state is State.ERROR
    assert finding.what == "2 NVIDIA GPUs on the bus and no driver library (libnvidia-ml.so.1)"


def test_a_bus_that_cannot_be_seen_leaves_the_driver_unknown() -> None:
    assert named(replace(HEALTHY, machine=replace(MACHINE, nvidia_gpus=None)), "driver").state is State.UNKNOWN


@pytest.mark.parametrize(
    "status", [NvmlStatus.NO_DRIVER, NvmlStatus.VERSION_MISMATCH, NvmlStatus.NO_PERMISSION, NvmlStatus.FAILED]
)
def test_a_driver_that_does_not_answer_is_an_error_with_what_it_said(status: NvmlStatus) -> None:
    finding = named(replace(HEALTHY, nvml=NvmlReading(status=status, reason="what NVML said")), "driver")

    assert finding.state is State.ERROR
    assert "what NVML said" in finding.what
    assert finding.fix


def test_a_working_gpu_is_described_with_what_is_known_only() -> None:
    known = FoundGpu(
        index=0,
        uuid="GPU-0",
        name="NVIDIA GeForce RTX 4090",
        memory_total=Bytes(24 * GIB),
        memory_used=Bytes(GIB),
        temperature_c=35,
        power_limit_w=450.0,
    )
    unknown = FoundGpu(index=1, uuid="GPU-1")
    looked = replace(HEALTHY, nvml=NvmlReading(status=NvmlStatus.OK, gpus=(known, unknown)))

    expected = "NVIDIA GeForce RTX 4090, 1.0 GiB of 24.0 GiB used, 35 °C, limit 450 W"
    assert named(looked, "GPU 0").what == expected
    assert named(looked, "GPU 1").what == "unknown model, memory unknown"


def test_a_lost_gpu_is_an_error() -> None:
    gpu = FoundGpu(index=1, state=GpuState.LOST, name="NVIDIA GeForce RTX 4090", problem="GPU is lost")

    finding = named(replace(HEALTHY, nvml=NvmlReading(status=NvmlStatus.OK, gpus=(gpu,))), "GPU 1")

    assert finding.state is State.ERROR
    assert finding.what == "NVIDIA GeForce RTX 4090 is lost: GPU is lost"


def test_a_card_that_the_driver_refused_is_a_warning() -> None:
    nvml = NvmlReading(status=NvmlStatus.OK, driver_version="580.95.05", gpus=(FoundGpu(index=0, uuid="GPU-0"),))

    finding = named(replace(HEALTHY, nvml=nvml, machine=replace(MACHINE, nvidia_gpus=2)), "driver")

    assert (finding.state, finding.what) == (State.WARNING, "NVIDIA driver 580.95.05, 1 GPU of 2 on the bus")


@pytest.mark.parametrize(("free", "state"), [(100 * GIB, State.OK), (5 * GIB, State.WARNING), (1000, State.ERROR)])
def test_a_disk_is_judged_by_what_is_free(free: int, state: State) -> None:
    assert named(replace(HEALTHY, machine=replace(MACHINE, disk_free=Bytes(free))), "disk").state is state


def test_no_limit_on_open_files_is_well() -> None:
    assert named(replace(HEALTHY, open_files=None), "open files") == Finding(
        name="open files", state=State.OK, what="no limit"
    )


def test_card_of_another_maker_needs_no_driver_of_nvidia_and_one_of_unknown_memory_names_what_to_write() -> None:
    card = FoundGpu(index=0, maker="AMD", pci="0000:03:00.0", name="AMD Radeon RX 7600", memory_total=Bytes(8 * GIB))
    looked = replace(HEALTHY, other_gpus=(card, FoundGpu(index=1, maker="Intel", pci="0000:07:00.0")))

    assert named(looked, "driver").what == "no NVIDIA GPU; the kernel drives the others"
    assert "AMD Radeon RX 7600" in named(looked, "GPU 0").what
    unknown = named(looked, "GPU 1")
    assert (unknown.state, unknown.what) == (
        State.WARNING,
        "unknown model of Intel at 0000:07:00.0, memory unknown",
    )
    assert unknown.fix is not None
    assert "memory: 16Gi" in unknown.fix
