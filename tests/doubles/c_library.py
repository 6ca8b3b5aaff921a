"""Builds the small libraries in C that stand for a part of the system."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def compile_library(source: Path, target: Path) -> None:
    """Build a shared library of one file."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.fail("these tests need a C compiler: sudo apt-get install --yes gcc libc6-dev")
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", str(target), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, text=True)
