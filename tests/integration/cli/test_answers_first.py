"""Every report opens with its answer, and is a screen of 40 lines at 80 columns at most unless `-v` asks for more."""

from __future__ import annotations

from math import ceil

import pytest

from doubles.installed import a_home, a_terminal

COLUMNS, LINES = 80, 40
CLUSTERS = (
    "examples/hydra/before.yaml",
    "examples/hydra/cluster.yaml",
    "examples/harvis/cluster.yaml",
    "examples/edge.yaml",
)
MODELS = ("llama3:8b", "33b@q4_k_m", "deepseek-r1:70b", "sdxl")
REPORTS = [("fit", model, "--cluster", cluster) for model in MODELS for cluster in CLUSTERS] + [
    ("fit", "llama3:8b"),
    ("fit", "33b@q4_k_m", "--gpu", "RTX 5070 Ti"),
    *((command, cluster) for command in ("plan", "power", "forecast", "render", "lint") for cluster in CLUSTERS),
    *(("checklist", cluster, "--to", "examples/hydra/cluster.yaml") for cluster in CLUSTERS),
    ("checklist", "examples/hydra/before.yaml", "--add", "hydra-compute=RTX 5070 Ti"),
    ("upgrade", "examples/hydra/before.yaml", "--replace", "hydra-compute/gpu1=RTX 5070 Ti"),
    *(("upgrade", cluster, "--to", "examples/hydra/cluster.yaml") for cluster in CLUSTERS),
    ("lint", "examples"),
    ("lint", "tests/unit/linting/rules"),
    ("lint", "tests/unit/linting/rules/A02"),
    ("lint", "--rules"),
    ("gpus", "find", "RTX 5070"),
    ("gpus", "show", "RTX 5070 Ti"),
    ("render", "--targets"),
    ("inventory",),
    ("doctor",),
    ("models", "list"),
]


@pytest.mark.parametrize("arguments", REPORTS, ids=" ".join)
def test_a_report_on_the_examples_is_a_screen_long_at_most(arguments: tuple[str, ...]) -> None:
    with a_home() as home, a_terminal(home, *arguments, columns=COLUMNS) as terminal:
        lines = terminal.rest().splitlines()

    assert 0 < sum(max(1, ceil(len(line) / COLUMNS)) for line in lines) <= LINES
