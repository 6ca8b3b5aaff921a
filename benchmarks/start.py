"""How fast the command and the server start, what the idle server takes, and what planning costs.

`corral up` runs as users run it, in a process of its own with an empty data directory and then again with the same one;
ready is when `/health/ready` answers 200. Memory is the server's resident set; PostgreSQL's processes share most of
theirs, so for them the proportional set is added up. Planning commands wait for nothing, so their CPU time is measured,
which other work on the machine changes least.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from benchmarks.table import machine, show

CORRAL = str(Path(sys.executable).with_name("corral"))
DEADLINE_S = 60.0
SETTLE_S = 5.0
"""After this the server has checked its engines and is idle."""


EXAMPLES = Path(__file__).parent.parent / "examples"
PLANNING = (
    ("corral version", ("version",), ""),
    ("corral fit llama3:8b", ("fit", "llama3:8b"), "< 0.5 s"),
    ("corral power hydra/before.yaml", ("power", str(EXAMPLES / "hydra/before.yaml")), "< 0.5 s"),
    ("corral plan hydra/before.yaml", ("plan", str(EXAMPLES / "hydra/before.yaml")), "< 0.5 s"),
    ("corral plan harvis/cluster.yaml", ("plan", str(EXAMPLES / "harvis/cluster.yaml")), "< 0.5 s"),
    ("corral forecast hydra/before.yaml", ("forecast", str(EXAMPLES / "hydra/before.yaml")), ""),
    (
        'corral upgrade hydra/before.yaml --replace hydra-compute/gpu1="RTX 5070 Ti" --limit hydra-compute=250',
        (
            "upgrade",
            str(EXAMPLES / "hydra/before.yaml"),
            "--replace",
            "hydra-compute/gpu1=RTX 5070 Ti",
            "--limit",
            "hydra-compute=250",
        ),
        "< 2 s",
    ),
)
"""What is typed (below `examples`), its arguments, and the aim."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, help="runs of `corral --help` (5); servers start three times less"
    )
    chosen = parser.parse_args()
    helps = [_help_s() for _ in range(chosen.rounds + 1)][1:]  # the first one fills the caches
    servers = [_server() for _ in range(max(1, chosen.rounds // 2))]
    first, second, server_mb, database_mb = (statistics.median(column) for column in zip(*servers, strict=True))
    rows = [
        ("`corral --help`", f"{statistics.median(helps):.2f} s", "< 0.3 s"),
        ("`corral up` to ready, empty data directory", f"{first:.2f} s", "< 4 s"),
        ("`corral up` to ready, second start", f"{second:.2f} s", "< 4 s"),
        ("memory of the idle server", f"{server_mb:.0f} MB", "< 150 MB"),
        ("memory of its PostgreSQL", f"{database_mb:.0f} MB", ""),
    ]
    show("Start", ("", "median", "aim"), rows, [f"{len(helps)} runs, {len(servers)} servers", machine()])
    costs = [
        (f"`{typed}`", f"{_median_cpu_s(arguments, chosen.rounds):.2f} s", aim) for typed, arguments, aim in PLANNING
    ]
    show("Planning", ("", "CPU, median", "aim"), costs, [f"{chosen.rounds} runs", machine()])


def _help_s() -> float:
    begun = time.perf_counter()
    subprocess.run([CORRAL, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def _median_cpu_s(arguments: tuple[str, ...], rounds: int) -> float:
    """Return the CPU seconds of a command and its processes."""
    costs = [_cpu_s(arguments) for _ in range(rounds + 1)][1:]  # the first one fills the caches
    return statistics.median(costs)


def _cpu_s(arguments: tuple[str, ...]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([CORRAL, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _server() -> tuple[float, float, float, float]:
    """Return the seconds of a first and a second start, and the megabytes of the server and of its database."""
    with tempfile.TemporaryDirectory(prefix="corral-bench-", dir="/tmp") as folder:
        first, _, _ = _up(Path(folder), settle_s=0)
        second, server, database = _up(Path(folder), settle_s=SETTLE_S)
        return first, second, server, database


def _up(folder: Path, *, settle_s: float) -> tuple[float, float, float]:
    begun = time.perf_counter()
    process = subprocess.Popen(
        [CORRAL, "up", "--data-dir", str(folder), "--port", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until_ready(folder, process)
        took = time.perf_counter() - begun
        time.sleep(settle_s)
        return took, psutil.Process(process.pid).memory_info().rss / 1e6, _database_mb(folder)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE_S)


def until_ready(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers that it is ready. Raises: RuntimeError."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"`corral up` ended with {process.returncode}")
        try:
            url = json.loads((folder / "server.json").read_text())["url"]
            with urllib.request.urlopen(f"{url}/health/ready", timeout=5):
                return
        except (OSError, ValueError, KeyError, urllib.error.URLError):
            time.sleep(0.01)
    raise RuntimeError(f"`corral up` was not ready within {DEADLINE_S:g} s")


def _database_mb(folder: Path) -> float:
    """Add up the proportional memory of the PostgreSQL processes whose folder lies in this data directory."""
    total = 0
    for process in psutil.process_iter(["name"]):
        try:
            if "postgres" in (process.info["name"] or "") and process.cwd().startswith(os.fspath(folder)):
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6


if __name__ == "__main__":
    main()
