"""What the page on placement shows is what the command prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from corral.cli.main import run_command

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "concepts" / "placement.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```text\n\$ corral (.+?)\n(.+?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_a_plan_that_is_shown_is_the_whole_of_what_is_printed(
    command: str, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(REPOSITORY / word) if word.endswith(".yaml") else word for word in shlex.split(command)]

    assert run_command(words) == 0

    assert capsys.readouterr().out.splitlines() == output.splitlines()
