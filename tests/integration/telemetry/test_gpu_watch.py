"""Who uses the GPUs, through the real binding and real processes; the driver is nvml.c, whose world the tests write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from corral.processes.leftovers import MARK, make_mark
from doubles.nvml_library import build_library, machine, write_state

GIB = 2**30
FIRST, SECOND = "GPU-11111111-1111-4111-8111-111111111111", "GPU-22222222-2222-4222-8222-222222222222"
LOOK = """
import json, os, subprocess, sys, time
from pathlib import Path
from corral.telemetry.gpu_watch import GpuWatch
from corral.telemetry.ownership import Own
from corral.wire import to_json
watch = GpuWatch(sees_the_machine=json.loads(sys.argv[1]))
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    own = Own(server=os.getpid(), logs=Path(asked["logs"]), ports=frozenset(asked["ports"]))
    before = time.process_time()
    look = watch.look(own, asked["now"])
    print(json.dumps({**to_json(look), "cpu_s": time.process_time() - before}), flush=True)
child.kill()
"""


class Looking:
    """A process that looks at the GPUs when it is asked, with a child of its own."""

    def __init__(self, library: Path, folder: Path, *, sees_the_machine: bool) -> None:
        self.state, self.logs, self._now = folder / "state", folder / "logs", 0.0
        write_state(self.state)
        environment = {**os.environ, **machine(library, "twins", state=self.state)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOOK, json.dumps(sees_the_machine)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.child = int(self._read())

    def look(self, *world: str, ports: tuple[int, ...] = (), after_s: float = 2.0) -> Any:
        write_state(self.state, *world)
        self._now += after_s
        assert self._process.stdin is not None
        asked = {"logs": str(self.logs), "ports": ports, "now": self._now}
        self._process.stdin.write(f"{json.dumps(asked)}\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def close(self) -> None:
        self._process.communicate(timeout=30)

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def looking(library: Path, tmp_path: Path) -> Iterator[Looking]:
    asked = Looking(library, tmp_path, sees_the_machine=True)
    yield asked
    asked.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Start a program of some name, with variables; return its process id."""
    with ExitStack() as started:

        def begin(name: str, **variables: str) -> int:
            program = tmp_path / name
            shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
            process = subprocess.Popen([program, "600"], env={**os.environ, **variables})
            started.callback(process.wait)
            started.callback(process.kill)
            return process.pid

        yield begin


def test_what_others_hold_is_told_from_what_descends_from_the_server(
    looking: Looking, start: Callable[..., int]
) -> None:
    game = start("game.x86_64")

    seen = looking.look(
        "used 0 14336", f"process 0 {game} 9216 G 55", f"process 0 {looking.child} 4096 C 30", "busy 0 85"
    )["uses"][FIRST]

    assert (seen["total"], seen["used"], seen["own"]) == (16303 * 2**20, 14 * GIB, 4 * GIB)
    assert seen.get("blind") is None
    (program,) = seen["programs"]
    assert program["name"] == "game.x86_64"
    assert program["memory"] == 9 * GIB
    assert program["busy"] == 0.55
    assert seen["busy"] == 0.85


def test_worker_whose_keeper_was_killed_is_known_by_its_mark(looking: Looking, start: Callable[..., int]) -> None:
    worker = start("worker", **{MARK: make_mark(looking.logs / "engines")})
    stranger = start("stranger", **{MARK: make_mark(looking.logs.parent / "another" / "logs")})

    seen = looking.look("used 0 8192", f"process 0 {worker} 3072 C 0", f"process 0 {stranger} 1024 C 0")["uses"][FIRST]

    assert seen["own"] == 3 * GIB
    assert [program["name"] for program in seen["programs"]] == ["stranger"]


def test_server_of_an_instance_is_known_by_the_port_on_which_it_listens(looking: Looking, tmp_path: Path) -> None:
    listen = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{listen}; time.sleep(600)"], stdout=subprocess.PIPE, text=True
    ) as instance:
        assert instance.stdout is not None
        port = int(instance.stdout.readline())
        world = ("used 0 6144", f"process 0 {instance.pid} 5120 C 0")

        named = looking.look(*world, ports=(port,))["uses"][FIRST]
        unnamed = looking.look(*world)["uses"][FIRST]
        instance.kill()

    assert (named["own"], named["located"], named["programs"]) == (5 * GIB, [port], [])
    assert unnamed["own"] == 0
    assert unnamed["programs"][0]["memory"] == 5 * GIB


def test_process_in_both_lists_of_the_driver_counts_once(looking: Looking) -> None:
    assert looking.look(f"process 0 {looking.child} 2048 B 10")["uses"][FIRST]["own"] == 2 * GIB


def test_memory_that_the_driver_does_not_report_by_process_is_not_told_apart(
    looking: Looking, start: Callable[..., int]
) -> None:
    game = start("game.exe")

    no_sizes = looking.look("used 0 8192", f"process 0 {game} -1 G 90")["uses"][FIRST]
    no_lists = looking.look("used 0 8192", "nolists")["uses"][FIRST]

    assert (no_sizes.get("own"), no_lists.get("own")) == (None, None)
    assert no_sizes["blind"] == "the driver does not report the memory of each process"
    assert no_lists["blind"] == "the driver does not list the processes on it"
    assert [program["name"] for program in no_sizes["programs"]] == ["game.exe"]


def test_numbers_of_processes_mean_nothing_in_a_container_unless_the_driver_is_open_there(
    library: Path, tmp_path: Path
) -> None:
    looking = Looking(library, tmp_path, sees_the_machine=False)
    listed = looking.look("used 0 8192", f"process 0 {looking.child} 4096 C 0")["uses"][FIRST]
    empty = looking.look("used 0 8192")["uses"][FIRST]
    looking.close()

    assert [program["name"] for program in listed["programs"]] == [f"process {looking.child}"]
    for seen in (listed, empty):
        assert seen.get("own") is None
        assert seen["blind"] == "Corral runs in a container, where the driver's process ids cannot be looked up"


def test_lost_card_is_reported_next_to_one_that_works_and_answers_again(looking: Looking) -> None:
    fallen = looking.look("lost 1")
    gone = looking.look("gone 1")
    back = looking.look(after_s=20)

    assert fallen["uses"][SECOND]["problem"] == "GPU is lost"
    assert fallen["uses"][FIRST].get("problem") is None
    assert set(gone["uses"]) == {FIRST}
    assert back["uses"][SECOND].get("problem") is None


def test_errors_of_a_card_are_seen_an_xid_once_and_none_of_before(looking: Looking) -> None:
    before = looking.look("xid 1 62 3")["uses"][SECOND]["signs"]
    seen = looking.look("xid 1 62 5", "ecc 1 2", "slowed 1 c8")["uses"]
    after = looking.look("xid 1 62 5", "ecc 1 2")["uses"][SECOND]["signs"]

    assert before["xids"] == []
    assert before.get("ecc_uncorrected") is None
    assert seen[SECOND]["signs"] == {
        "xids": [62, 62],
        "ecc_uncorrected": 2,
        "slowdowns": ["thermal slowdown by the hardware", "power brake"],
    }
    assert seen[FIRST]["signs"]["xids"] == []
    assert (after["xids"], after["slowdowns"]) == ([], [])


def test_xids_are_seen_again_after_the_driver_was_opened_anew(looking: Looking) -> None:
    looking.look("xid 1 62 1")
    looking.look("unloaded")
    looking.look("xid 1 62 1")

    assert looking.look("xid 1 79 2")["uses"][SECOND]["signs"]["xids"] == [79]


def test_driver_that_is_unloaded_and_loaded_again_is_opened_anew(looking: Looking) -> None:
    assert FIRST in looking.look()["uses"]

    unloaded = looking.look("unloaded")
    loaded = looking.look()

    assert unloaded["uses"] == {}
    assert unloaded["nvidia_problem"] == "Driver Not Loaded"
    assert set(loaded["uses"]) == {FIRST, SECOND}


def test_look_at_two_cards_costs_little(looking: Looking, start: Callable[..., int]) -> None:
    """A bound for the kind of cost (a scan of every process would be far above), not a benchmark."""
    game = start("game.x86_64")
    world = ("used 0 9216", f"process 0 {game} 9216 G 55", f"process 1 {looking.child} 4096 C 30")
    looking.look(*world)

    costs = sorted(looking.look(*world)["cpu_s"] for _ in range(20))

    assert costs[10] < 0.02, costs
