"""A load test with real files and real processes; the cards answer through a double, and time is given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from corral.telemetry.loadtest.loads import Loads
from corral.telemetry.loadtest.recording import Recording, describe_unfinished, read_boot_id, read_recording
from corral.telemetry.loadtest.running import ALL_LOST, FINISHED, INTERRUPTED, LoadTest, LoadTestRequest, watch
from corral.telemetry.loadtest.verdict import Outcome
from corral.telemetry.nvml import GpuState
from corral.telemetry.sampling import GpuLimits, Sample, Slowed

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Cards:
    """Stands for `corral.telemetry.sampling.Sampler` over two loaded cards; those of `lost` fall off the bus at 5 s.

    Checked against what the real one gives over tests/nvml/nvml.c (`falls`).
    """

    def __init__(self, *lost: int) -> None:
        self.gpus = (0, 1)
        self._lost = lost

    def read_limits(self, gpu: int) -> GpuLimits:
        return GpuLimits(gpu=gpu, name="NVIDIA GeForce RTX 5070 Ti", uuid=f"GPU-{gpu}", slowdown_c=90)

    def look(self, gpu: int, at_s: float) -> Sample:
        if gpu in self._lost and at_s >= 5:
            return Sample(at_s=at_s, gpu=gpu, state=GpuState.LOST, problem="GPU is lost")
        return Sample(at_s=at_s, gpu=gpu, temperature_c=70, utilization=99, slowed=(Slowed.POWER_CAP,))


def ticks(count: int = 11) -> Iterator[float]:
    return iter([float(second) for second in range(count)])


def watched(cards: Cards, folder: Path, *, ticks: Iterator[float], load: str | None = None) -> LoadTest:
    wish = LoadTestRequest(seconds=10, load=load)
    return watch(cards, wish, folder, ticks=ticks, now=AT, report=lambda sample: None)


def test_every_sample_is_in_the_file_and_reads_back_as_it_was(tmp_path: Path) -> None:
    done = watched(Cards(), tmp_path, ticks=ticks())

    recorded = read_recording(done.recording)
    assert done.outcome is Outcome.PASS
    assert recorded is not None
    assert recorded.samples == done.samples
    assert (recorded.ended, recorded.wanted_s, recorded.last_s) == (FINISHED, 10, 10)
    assert [card.uuid for card in recorded.gpus] == ["GPU-0", "GPU-1"]


def test_a_lost_card_ends_its_own_test_and_the_other_goes_on(tmp_path: Path) -> None:
    done = watched(Cards(1), tmp_path, ticks=ticks())

    assert [card.outcome for card in done.cards] == [Outcome.PASS, Outcome.FAIL]
    assert sum(sample.gpu == 1 for sample in done.samples) == 6
    assert done.ended == FINISHED


def test_when_all_cards_are_lost_the_test_ends(tmp_path: Path) -> None:
    done = watched(Cards(0, 1), tmp_path, ticks=ticks())

    assert (done.ended, done.outcome) == (ALL_LOST, Outcome.FAIL)
    assert max(sample.at_s for sample in done.samples) == 5


def test_an_interrupted_test_is_judged_by_what_it_saw(tmp_path: Path) -> None:
    def until_ctrl_c() -> Iterator[float]:
        yield from ticks(4)
        raise KeyboardInterrupt

    done = watched(Cards(), tmp_path, ticks=until_ctrl_c())

    recorded = read_recording(done.recording)
    assert (done.ended, done.outcome) == (INTERRUPTED, Outcome.INCONCLUSIVE)
    assert recorded is not None
    assert recorded.ended == INTERRUPTED


def a_torn_recording(folder: Path) -> Path:
    """A file as a power cut leaves it: no end, and half a line."""
    path = folder / "20260101T000000.000000Z.jsonl"
    with Recording(path, started_at=AT, wanted_s=1800, gpus=[Cards().read_limits(0)]) as recording:
        for second in range(801):
            recording.add(Cards().look(0, float(second)))
    with path.open("a") as file:
        file.write('{"kind": "sam')
    return path


def test_a_machine_that_went_down_is_seen_at_the_next_test(tmp_path: Path) -> None:
    a_torn_recording(tmp_path)

    warning = describe_unfinished(tmp_path, boot="another-boot")

    assert warning is not None
    assert "13m 20s of 30m 00s" in warning
    assert "the machine has started anew" in warning


def test_a_program_that_was_killed_is_told_apart_from_a_machine_that_went_down(tmp_path: Path) -> None:
    a_torn_recording(tmp_path)

    warning = describe_unfinished(tmp_path, boot=read_boot_id())

    assert warning is not None
    assert "the program was killed" in warning


def test_the_next_test_says_so_and_the_one_after_does_not(tmp_path: Path) -> None:
    a_torn_recording(tmp_path)

    first = watched(Cards(), tmp_path, ticks=ticks())

    assert "has no end" in first.remarks[0].what
    assert describe_unfinished(tmp_path, boot=read_boot_id()) is None


def test_a_load_runs_for_each_card_with_its_uuid_and_ends_with_the_test(tmp_path: Path) -> None:
    begun = [tmp_path / "GPU-0", tmp_path / "GPU-1"]

    def until_both_run() -> Iterator[float]:
        at = 0.0
        while not all(path.exists() and path.read_text().strip() for path in begun):
            yield at
            at += 0.001

    done = watched(
        Cards(), tmp_path, ticks=until_both_run(), load=f'echo $$ > {tmp_path}/"$CUDA_VISIBLE_DEVICES"; sleep 600'
    )

    assert done.ended == FINISHED
    assert not any(psutil.pid_exists(int(path.read_text())) for path in begun)


def test_a_load_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    def until_told() -> Iterator[float]:
        at = 0.0
        while True:
            yield at
            at += 0.001

    done = watched(Cards(), tmp_path, ticks=until_told(), load="echo out of memory; exit 3")

    assert done.outcome is Outcome.INCONCLUSIVE
    assert done.remarks[0].what == "the load command of GPU 0 ended by itself with exit code 3: out of memory"


HOLD = """
import sys
from pathlib import Path
from corral.telemetry.loadtest.loads import Loads
from corral.telemetry.sampling import GpuLimits
with Loads("echo $$; sleep 600 & sleep 600", [GpuLimits(gpu=0)], Path(sys.argv[1]), "load"):
    print("up", flush=True)
    sys.stdin.read()
"""


def test_loads_end_even_when_their_starter_is_killed(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == "up\n"
    loads = [child for child in psutil.Process(starter.pid).children(recursive=True) if "sleep" in child.cmdline()]
    groups = psutil.Process(starter.pid).children()

    os.kill(starter.pid, signal.SIGKILL)
    starter.communicate()

    gone, alive = psutil.wait_procs([*loads, *groups], timeout=30)
    assert alive == []
    assert gone


def test_loads_leave_nothing_behind_when_one_cannot_start(tmp_path: Path) -> None:
    cards = [GpuLimits(gpu=0), GpuLimits(gpu=1)]
    (tmp_path / "load-gpu1.log").mkdir()  # its log cannot be opened

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(IsADirectoryError), Loads("sleep 600", cards, tmp_path, "load"):
        pass

    assert {child.pid for child in psutil.Process().children(recursive=True)} == before
