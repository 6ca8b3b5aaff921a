"""Reading GPUs through the real binding, from a library of ours that stands for the driver's (tests/nvml/nvml.c)."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.telemetry.nvml import GpuState, NvmlReading, NvmlStatus, PcieLink
from doubles.nvml_library import build_library, machine

MIB = 2**20
READ = """
import pickle, sys
from corral.telemetry.nvml import find_gpus
sys.stdout.buffer.write(pickle.dumps(find_gpus()))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our libnvidia-ml.so.1."""
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def read(library: Path) -> Callable[[str], NvmlReading]:
    """Read the GPUs of one of the machines in nvml.c, in a process that finds our library first."""

    def on(name: str) -> NvmlReading:
        return _read(machine(library, name))

    return on


def _read(environment: dict[str, str]) -> NvmlReading:
    done = subprocess.run(
        [sys.executable, "-c", READ], env=dict(os.environ) | environment, check=True, capture_output=True, timeout=60
    )
    reading: object = pickle.loads(done.stdout)
    assert isinstance(reading, NvmlReading)
    return reading


def test_two_identical_cards_are_told_apart_by_uuid(read: Callable[[str], NvmlReading]) -> None:
    reading = read("twins")

    assert reading.status is NvmlStatus.OK
    assert reading.driver_version == "580.95.05"
    assert reading.cuda_version == (13, 0)
    assert [gpu.name for gpu in reading.gpus] == ["NVIDIA GeForce RTX 5070 Ti"] * 2
    assert [gpu.uuid for gpu in reading.gpus] == [
        "GPU-11111111-1111-4111-8111-111111111111",
        "GPU-22222222-2222-4222-8222-222222222222",
    ]


def test_everything_the_driver_says_of_a_card_is_read_in_our_units(read: Callable[[str], NvmlReading]) -> None:
    first, second = read("mixed").gpus

    assert (first.index, first.name) == (0, "NVIDIA GeForce RTX 5090")
    assert (first.memory_total, first.memory_used) == (32607 * MIB, 2 * MIB)
    assert (first.cuda_capability, first.power_limit_w, first.temperature_c) == ((12, 0), 575.0, 38)
    assert (first.power_limit_default_w, first.power_limit_range_w) == (575.0, (400.0, 600.0))
    assert (first.pcie, first.pcie_best) == (PcieLink(generation=1, width=8), PcieLink(generation=5, width=16))
    assert (second.power_limit_w, second.power_limit_default_w) == (400.0, 450.0)
    assert (second.index, second.memory_total, second.cuda_capability) == (1, 24564 * MIB, (8, 9))


def test_a_lost_card_is_reported_beside_the_one_that_works(read: Callable[[str], NvmlReading]) -> None:
    working, lost = read("lost").gpus

    assert working.state is GpuState.OK
    assert lost.state is GpuState.LOST
    assert lost.problem == "GPU is lost"
    assert lost.uuid == "GPU-22222222-2222-4222-8222-222222222222"
    assert lost.memory_total is None


def test_a_card_whose_memory_is_not_told_works_and_has_unknown_memory(read: Callable[[str], NvmlReading]) -> None:
    (gpu,) = read("shared").gpus

    assert gpu.state is GpuState.OK
    assert (gpu.memory_total, gpu.memory_used, gpu.power_limit_w) == (None, None, None)
    assert (gpu.power_limit_range_w, gpu.pcie, gpu.pcie_best) == (None, None, None)
    assert gpu.temperature_c == 44


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("mismatch", NvmlStatus.VERSION_MISMATCH, "RM has detected an NVML/RM version mismatch"),
        ("unloaded", NvmlStatus.NO_DRIVER, "Driver Not Loaded"),
    ],
)
def test_a_driver_that_does_not_answer_is_a_reason_and_not_an_exception(
    read: Callable[[str], NvmlReading], name: str, status: NvmlStatus, reason: str
) -> None:
    reading = read(name)

    assert (reading.status, reading.reason, reading.gpus) == (status, reason, ())


def test_a_library_that_cannot_be_loaded_means_no_driver_library(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"not a library")  # also hides a real one, on a machine that has it

    reading = _read({"LD_LIBRARY_PATH": str(tmp_path)})

    assert (reading.status, reading.gpus) == (NvmlStatus.NO_LIBRARY, ())
