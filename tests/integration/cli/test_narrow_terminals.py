"""What reports look like on a terminal of 80 columns, and in a pipe."""

from __future__ import annotations

import pytest

from doubles.installed import a_home, a_terminal, run

FILE = "examples/hydra/cluster.yaml"
NARROW = 80


@pytest.mark.parametrize(
    "arguments",
    [
        ("power", FILE),
        ("plan", FILE),
        ("forecast", FILE),
        ("fit", "llama3:8b", "--cluster", FILE),
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_line_of_a_report_runs_over_the_edge_of_a_narrow_terminal(arguments: tuple[str, ...]) -> None:
    with a_home() as home, a_terminal(home, *arguments, columns=NARROW) as terminal:
        shown = terminal.rest()
        assert terminal.exit_code() == 0

    assert "hydra-compute" in shown
    assert max(map(len, shown.splitlines())) <= NARROW


def test_a_program_that_reads_the_report_gets_each_row_on_one_line() -> None:
    with a_home() as home:
        output = run(home, "power", FILE).stdout

    _, table, *_ = output.split("\n\n")
    assert [line.split()[0] for line in table.splitlines()] == ["node", "hydra-ai", "hydra-compute", "hydra-storage"]
