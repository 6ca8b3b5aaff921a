"""Starts programs for a benchmark, each in a process of its own, and Corral's server as `corral up` does."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

PYTHON = sys.executable
START_S = 180.0
"""LiteLLM's proxy takes a sixth of it to start; on a machine with much other work all take longer."""


@contextlib.contextmanager
def run_program(
    command: Sequence[str], port: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """Run a program until the context ends; it listens on the port when this yields. Its log is in the folder."""
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    log = folder / f"{port}.log"
    with log.open("wb") as file:
        variables = {**os.environ, **quiet, **(environment or {})}
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=variables)
    try:
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{command[0]} does not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def run_corral(
    cluster: str, port: int, folder: Path, environment: Mapping[str, str] | None = None
) -> contextlib.AbstractContextManager[psutil.Process]:
    """Run a server of a cluster file's text, with its data in the folder, until the context ends."""
    (folder / "cluster.yaml").write_text(cluster)
    corral = str(Path(PYTHON).with_name("corral"))
    command = [corral, "up", "--cluster", str(folder / "cluster.yaml"), "--data-dir", str(folder / "data")]
    return run_program([*command, "--port", str(port)], port, folder, environment)


def find_port() -> int:
    """Return a port that is free."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
