"""What the pages on power and GPUs show is what the commands print, and their tables are what the code knows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from corral.cli.main import run_command
from corral.hardware.power.limits import SWEEPS
from corral.hardware.power.supply import STANDARD_SIZES_W

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "concepts" / "power.md").read_text()
GPUS_PAGE = (REPOSITORY / "docs" / "concepts" / "gpus.md").read_text()
SHOWN = re.findall(r"```text\n\$ corral (.+?)\n(.+?)```", PAGE + GPUS_PAGE, re.DOTALL)


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_every_line_that_is_shown_is_printed(command: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(REPOSITORY / word) if word.endswith(".yaml") else word for word in shlex.split(command)]

    assert run_command(words) == 0

    printed = capsys.readouterr().out.splitlines()
    assert [line for line in output.splitlines() if line not in printed] == []


def test_every_loss_of_the_table_is_one_that_was_measured() -> None:
    rows = re.findall(r"^\| RTX [^|]+\| ([^|]+) \| ([^|]+) \| [^|]+\|$", PAGE, re.MULTILINE)
    losses = {(work, int(watts), float(loss)) for work, cell in rows for watts, loss in LOSS.findall(cell)}
    known = {
        (sweep.work, limit, round(100 * (1 - speed / sweep.best), 1))
        for sweep in SWEEPS
        for limit, speed in sweep.speeds.items()
    }

    assert losses <= known
    assert {work for work, _, _ in losses} == {sweep.work for sweep in SWEEPS}


LOSS = re.compile(r"(\d+) W: ([\d.]+) %")


def test_the_sizes_of_supplies_on_the_page_are_those_that_are_advised() -> None:
    listed = re.search(r"the smallest of ([\d, and]+) W that", PAGE)
    assert listed is not None
    assert tuple(map(int, re.findall(r"\d+", listed.group(1)))) == STANDARD_SIZES_W


def test_every_source_of_a_measurement_is_linked() -> None:
    assert [sweep.source for sweep in SWEEPS if sweep.source not in PAGE] == []
