"""Servers that Corral runs, on real processes that are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import aiohttp
import psutil
import pytest

from corral.processes.bounded_log import BoundedLog
from corral.processes.leftovers import MARK, make_mark, sweep
from corral.processes.restarts import RestartRules
from corral.processes.server import Server, ServerLateError, ServerOutOfUseError, ServerProgram, ServerStartError
from doubles.local_engines import REPOSITORY, running_below
from doubles.supervised import make_program

BuildServer = Callable[..., Server]
QUICK = RestartRules(first_wait_s=0.01, longest_wait_s=0.01, most_failures=2)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
async def server(logs: Path) -> AsyncIterator[BuildServer]:
    async with AsyncExitStack() as running:

        def make(*asked: str, rules: RestartRules | None = None) -> Server:
            built = Server(make_program(logs, *asked), BoundedLog(logs / "small.log"), rules=rules)
            running.push_async_callback(built.stop)
            return built

        yield make
    assert running_below(logs) == []


async def fetch_pid(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as response:
        return int(await response.text())


async def test_server_is_ready_when_its_health_path_answers_and_not_before(server: BuildServer) -> None:
    waited: list[float] = []

    url = await server("late", "1.5").ensure_ready(within_s=60, waiting=waited.append)

    assert await fetch_pid(url) > 0
    assert waited[-1] > 0.5


async def test_running_server_is_not_started_again(server: BuildServer) -> None:
    built = server()

    first, second = await asyncio.gather(*(built.ensure_ready(within_s=60) for _ in range(2)))

    assert first == second
    assert len({await fetch_pid(first), await fetch_pid(await built.ensure_ready(within_s=60))}) == 1


async def test_killed_server_is_back_with_the_next_call(server: BuildServer, logs: Path) -> None:
    built = server("daemon")
    pid = await fetch_pid(await built.ensure_ready(within_s=60))

    os.kill(pid, signal.SIGKILL)
    await built.wait()

    assert not built.running
    await wait_until_gone(logs)
    assert await fetch_pid(await built.ensure_ready(within_s=60)) != pid


async def test_server_that_fails_says_why_in_its_own_words_until_it_is_out_of_use(server: BuildServer) -> None:
    built = server("fail", rules=QUICK)

    for _ in range(QUICK.most_failures):
        with pytest.raises(ServerStartError, match=r"exit code 1; last lines: no memory for the model"):
            await built.ensure_ready(within_s=60)
    with pytest.raises(ServerOutOfUseError, match=r"failed 2 times in a row: .*no memory for the model"):
        await built.ensure_ready(within_s=60)


async def test_server_that_is_late_is_ended_and_its_last_lines_are_quoted(server: BuildServer, logs: Path) -> None:
    built = server("late", "3600", "daemon")

    with pytest.raises(ServerLateError, match=r"not ready within 2s: listening"):
        await built.ensure_ready(within_s=2)

    assert running_below(logs) == []


async def test_cancelled_start_leaves_nothing(server: BuildServer, logs: Path) -> None:
    waiting = asyncio.Event()
    starting = asyncio.create_task(server("late", "3600").ensure_ready(within_s=60, waiting=lambda _: waiting.set()))
    await waiting.wait()

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert running_below(logs) == []


async def test_server_whose_log_cannot_be_read_is_ended(logs: Path) -> None:
    program = replace(make_program(logs, "daemon"), log_command=("not a program\0",))
    built = Server(program, BoundedLog(logs / "small.log"))

    with pytest.raises(ValueError, match="null byte"):
        await built.ensure_ready(within_s=60)

    assert not built.running
    assert running_below(logs) == []


@pytest.mark.parametrize("asked", [("daemon",), ("stubborn", "daemon")], ids=" ".join)
async def test_stopped_server_leaves_no_daemon(server: BuildServer, logs: Path, asked: tuple[str, ...]) -> None:
    built = server(*asked)
    await built.ensure_ready(within_s=60)
    assert any("7302" in process.cmdline() for process in running_below(logs))

    await built.stop()

    assert running_below(logs) == []


async def test_program_that_does_not_exist_is_named(server: BuildServer, logs: Path) -> None:
    absent = ServerProgram(
        name="absent",
        command=lambda _: ("/nowhere/absent",),
        environment=lambda _: {**os.environ, MARK: make_mark(logs)},
        health_path="/health",
    )

    with pytest.raises(ServerStartError, match="cannot start '/nowhere/absent': No such file"):
        await Server(absent, BoundedLog(logs / "absent.log")).ensure_ready(within_s=60)


async def start_corral(logs: Path) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "doubles.supervised", str(logs)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")},
    )
    assert process.stdout is not None
    assert (await process.stdout.readline()).startswith(b"http://")
    return process


async def wait_until_gone(logs: Path) -> None:
    await asyncio.to_thread(psutil.wait_procs, running_below(logs), 30)
    assert running_below(logs) == []


async def test_killed_corral_takes_its_servers_and_their_daemons_along(logs: Path) -> None:
    corral = await start_corral(logs)
    assert len(running_below(logs)) >= 4  # keeper, server, two daemons

    corral.kill()
    await corral.wait()

    await wait_until_gone(logs)


async def test_nothing_is_left_after_the_next_start_even_if_the_keeper_was_killed_too(logs: Path) -> None:
    corral = await start_corral(logs)
    keeper = next(process for process in running_below(logs) if "corral.processes.keeper" in process.cmdline())
    family = running_below(logs)
    os.kill(corral.pid, signal.SIGSTOP)  # so that it cannot act on the keeper's death
    keeper.kill()
    corral.kill()
    await corral.wait()

    sweep(logs)

    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
