"""A load test through the real binding, over cards of nvml.c that get hot, are braked, and fall off; time is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from doubles.nvml_library import build_library, machine

WATCH = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from corral.operations.load_testing import answer_load_test
from corral.wire import to_json
from corral.telemetry.loadtest.running import LoadTestRequest, watch
from corral.telemetry.sampling import open_sampler
with open_sampler() as sampler:
    seconds = iter([float(second) for second in range(11)])
    test = watch(sampler, LoadTestRequest(seconds=10), Path(sys.argv[1]), ticks=seconds,
                 now=datetime.now(UTC), report=lambda sample: None)
print(json.dumps(to_json(answer_load_test(test))))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("nvml"))


def watched(library: Path, folder: Path, load: str, name: str = "twins") -> Any:
    """Watch the cards of one of the machines, in a process that finds our library first."""
    environment = {**os.environ, **machine(library, name), "CORRAL_TEST_NVML_LOAD": load}
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(folder)], env=environment, check=True, capture_output=True, timeout=60
    )
    return json.loads(done.stdout)


def test_all_that_the_driver_says_is_sampled(library: Path, tmp_path: Path) -> None:
    said = watched(library, tmp_path, "steady")

    card = said["cards"][0]
    sample = json.loads(Path(said["recording"]).read_text().splitlines()[1])
    assert said["outcome"] == "pass"
    assert card["limits"] == {
        "gpu": 0,
        "name": "NVIDIA GeForce RTX 5070 Ti",
        "uuid": "GPU-11111111-1111-4111-8111-111111111111",
        "slowdown_c": 90,
        "shutdown_c": 95,
        "power_limit_w": 300.0,
        "sm_mhz": 3090,
        "pcie_width": 16,
        "is_persistent": True,
    }
    assert sample == {
        "kind": "sample",
        "at_s": 0.0,
        "gpu": 0,
        "state": "ok",
        "temperature_c": 41,
        "utilization": 99,
        "sm_mhz": 2700,
        "memory_mhz": 14001,
        "power_w": 298.0,
        "slowed": ["power cap"],
        "fan_percent": 60,
        "pcie_generation": 5,
        "pcie_width": 8,
        "pcie_replays": 0,
    }


@pytest.mark.parametrize(
    ("load", "what"),
    [
        ("hot", "thermal slowdown by the hardware in 45.5% of the samples, first after 6.0s"),
        ("brake", "power brake in 9.1% of the samples, first after 4.0s"),
        ("falls", "the GPU stopped answering after 5.0s (GPU is lost)"),
    ],
)
def test_a_card_that_does_not_hold_fails_with_the_reason(library: Path, tmp_path: Path, load: str, what: str) -> None:
    steady, broken = watched(library, tmp_path, load)["cards"]

    assert (steady["outcome"], broken["outcome"]) == ("pass", "fail")
    assert broken["remarks"][0]["what"].startswith(what)


def test_a_card_that_is_lost_from_the_beginning_fails_at_once(library: Path, tmp_path: Path) -> None:
    _, lost = watched(library, tmp_path, "steady", "lost")["cards"]

    assert (lost["outcome"], lost["samples"]) == ("fail", 0)


def test_a_card_that_gives_little_is_judged_by_what_it_gives(library: Path, tmp_path: Path) -> None:
    (card,) = watched(library, tmp_path, "steady", "shared")["cards"]

    assert card["outcome"] == "pass"
    assert (card["power_w"], card["limits"]["slowdown_c"]) == (None, None)
