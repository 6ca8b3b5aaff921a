"""The driver that a machine needs follows from the generations of its GPUs."""

from __future__ import annotations

import pytest

from corral.hardware.catalogue import find_one_gpu
from corral.hardware.nvidia_drivers import find_driver_need


@pytest.mark.parametrize(
    ("gpu", "first_driver", "last_branch", "open_modules"),
    [
        ("RTX 5070 Ti", (570, 26), None, True),
        ("RTX 4090", (520, 61), None, False),
        ("RTX 3060 12GB", (455, 23), None, False),
        ("A100 PCIe 80 GB", (450, 36), None, False),
        ("GTX 1080 Ti", (367, 48), 580, False),
        ("Tesla K40c", (304, 0), 470, False),
    ],
)
def test_the_driver_follows_from_the_generation(
    gpu: str, first_driver: tuple[int, int], last_branch: int | None, open_modules: bool
) -> None:
    need = find_driver_need([find_one_gpu(gpu)])

    assert need is not None
    assert (need.first_driver, need.last_branch, need.open_modules) == (first_driver, last_branch, open_modules)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("GTX 1080 Ti", "RTX 5090", "open kernel modules"),
        ("Tesla K40c", "RTX 4090", "needs driver 520 or newer, and Tesla K40c 470 or older"),
    ],
)
def test_gpus_that_no_driver_runs_together_contradict_each_other(old: str, new: str, reason: str) -> None:
    need = find_driver_need([find_one_gpu(old), find_one_gpu(new)])

    assert need is not None
    assert need.contradiction is not None
    assert reason in need.contradiction


def test_a_driver_runs_the_gpus_of_neighbouring_generations() -> None:
    need = find_driver_need([find_one_gpu("Tesla K40c"), find_one_gpu("GTX 1080")])

    assert need is not None
    assert need.contradiction is None
    assert (need.first_driver, need.last_branch) == ((367, 48), 470)


def test_gpus_of_no_known_generation_ask_for_no_driver() -> None:
    assert find_driver_need([find_one_gpu("GTX 480"), find_one_gpu("RX 7900 XTX")]) is None
