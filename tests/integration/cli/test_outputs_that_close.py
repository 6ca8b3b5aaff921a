"""Outputs that are closed, full, or left by their reader before the end."""

from __future__ import annotations

import subprocess

import pytest

from doubles.installed import CORRAL, REPOSITORY

FILE = REPOSITORY / "examples" / "hydra" / "cluster.yaml"
UNAVAILABLE = 6


def exit_code(redirected: str) -> tuple[int, str]:
    """Run a line of bash; return the exit code of its first command, and what went to stderr."""
    line = f"{redirected}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", ["version", f"plan {FILE}", f"fit llama3:8b --cluster {FILE}"])
@pytest.mark.parametrize("reader", ["| true", "| head -1", ">&-"])
def test_a_reader_that_leaves_early_is_no_mistake(arguments: str, reader: str) -> None:
    assert exit_code(f"{CORRAL} {arguments} {reader}") == (0, "")


def test_a_failure_without_any_output_keeps_its_exit_code() -> None:
    assert exit_code(f"{CORRAL} plan /nowhere/cluster.yaml >&- 2>&-") == (3, "")


def test_a_full_disk_is_told_as_that_however_short_the_output() -> None:
    code, said = exit_code(f"{CORRAL} version > /dev/full")

    assert code == UNAVAILABLE
    assert said.startswith("error[cli.no_space]: no space left on device")
