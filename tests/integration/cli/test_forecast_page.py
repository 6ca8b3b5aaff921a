"""What the page on forecasts shows is what the command prints and draws."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from corral.cli.main import run_command

REPOSITORY = Path(__file__).parents[3]
CONCEPTS = REPOSITORY / "docs" / "concepts"
PAGE = (CONCEPTS / "forecast.md").read_text()
SHOWN = re.findall(r"```text\n\$ corral (.+?)\n(.+?)```", PAGE, re.DOTALL)


def words_of(command: str) -> list[str]:
    return [str(REPOSITORY / word) if word.endswith(".yaml") else word for word in shlex.split(command)]


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_every_line_that_is_shown_is_printed(command: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(words_of(command)) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in output.splitlines() if line not in printed] == []


def test_the_chart_on_the_page_is_what_its_command_draws(tmp_path: Path) -> None:
    match = re.search(r"```sh\ncorral (forecast .+?)```", PAGE, re.DOTALL)
    assert match is not None
    words = words_of(match.group(1).replace("\\\n", " "))
    drawn = tmp_path / "forecast.svg"
    words[words.index("--gantt") + 1] = str(drawn)
    assert run_command(words) == 0
    assert drawn.read_text() == (CONCEPTS / "forecast.svg").read_text()
