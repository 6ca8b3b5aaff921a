"""Several attempts and guests at once on one loaded model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from corral.engines.building import Device, build
from corral.weights.store import Store
from corral.work import Engine, HasEndpoint, Produced
from doubles.local_engines import LLAMA, Remembering, a_work, running_below

ENDLESS = {"prompt": "Count.", "grammar": "root ::= [0-9 ] root", "max_tokens": 100_000}
"""Its grammar has no end."""


@pytest.fixture
async def lanes(models: Store, logs: Path) -> AsyncIterator[Engine]:
    """An engine with three lanes of 2,048 tokens each."""
    built = build(
        "llama",
        device=Device(name="cpu0"),
        threads=1,
        lanes=3,
        options={"contextSize": 2048},
        locate=models.path,
        log_dir=logs,
    )
    yield built
    await built.close()
    assert running_below(logs) == []


class Attempt:
    """One attempt that was begun."""

    def __init__(self, engine: Engine, folder: Path, **inputs: object) -> None:
        self.report = Remembering()
        self.work = a_work("llama", folder, model=LLAMA, **inputs)
        self.running: asyncio.Task[Produced] = asyncio.create_task(engine.run(self.work, self.report))

    async def until_it_writes(self) -> None:
        """Wait until it has written something."""
        while not self.report.shown:
            assert not self.running.done(), self.running
            await asyncio.sleep(0.01)

    async def cancel(self) -> None:
        """Cancel it, and wait until it has ended so."""
        self.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.running


async def test_attempts_write_at_the_same_time_from_one_loaded_model(lanes: Engine, logs: Path, tmp_path: Path) -> None:
    first = Attempt(lanes, tmp_path, **ENDLESS)
    await first.until_it_writes()
    server = {process.pid for process in running_below(logs)}

    second, third = (Attempt(lanes, tmp_path, prompt="Say hi.", max_tokens=5) for _ in range(2))
    answers = await asyncio.gather(second.running, third.running)

    assert all(answer.values["completion_tokens"] > 0 for answer in answers)
    assert not first.running.done()
    assert {process.pid for process in running_below(logs)} == server
    await first.cancel()


async def test_a_cancel_stops_one_attempt_and_no_other(lanes: Engine, logs: Path, tmp_path: Path) -> None:
    stays, leaves = Attempt(lanes, tmp_path, **ENDLESS), Attempt(lanes, tmp_path, **ENDLESS)
    await stays.until_it_writes()
    await leaves.until_it_writes()
    server = {process.pid for process in running_below(logs)}

    await leaves.cancel()

    before = len(stays.report.notes)
    async with asyncio.timeout(60):
        while len(stays.report.notes) < before + 5:
            assert not stays.running.done(), stays.running
            await asyncio.sleep(0.01)
    assert {process.pid for process in running_below(logs)} == server
    await stays.cancel()
    assert [resident.model for resident in await lanes.resident()] == [LLAMA]


async def test_what_needs_another_server_waits_for_the_others_and_those_behind_it_for_that(
    lanes: Engine, tmp_path: Path
) -> None:
    ended: list[str] = []

    async def note_end(name: str, attempt: Attempt) -> None:
        await attempt.running
        ended.append(name)

    writes = Attempt(lanes, tmp_path, prompt="Tell a story.", max_tokens=60, temperature=0.0)
    await writes.until_it_writes()
    embeds = Attempt(lanes, tmp_path, embed=["a fox"], pooling="mean")
    while not embeds.report.notes:  # noqa: ASYNC110 (as above)
        await asyncio.sleep(0.01)
    behind = Attempt(lanes, tmp_path, prompt="Hi", max_tokens=1)
    named = {"writes": writes, "embeds": embeds, "behind": behind}
    async with asyncio.TaskGroup() as group:
        for name, attempt in named.items():
            group.create_task(note_end(name, attempt))

    assert ended == ["writes", "embeds", "behind"]
    assert embeds.report.notes[0][1] == "waiting for others that use the server"


async def test_a_killed_engine_ends_all_its_attempts_and_works_again(lanes: Engine, logs: Path, tmp_path: Path) -> None:
    attempts = [Attempt(lanes, tmp_path, **ENDLESS) for _ in range(2)]
    for attempt in attempts:
        await attempt.until_it_writes()

    await lanes.kill()
    failures = await asyncio.gather(*(attempt.running for attempt in attempts), return_exceptions=True)

    assert [type(failure).__name__ for failure in failures] == ["EngineError", "EngineError"]
    assert running_below(logs) == []
    again = await Attempt(lanes, tmp_path, prompt="Hi", max_tokens=1).running
    assert again.values["text"]


async def test_a_guest_reaches_the_loaded_model_beside_an_attempt(lanes: Engine, logs: Path, tmp_path: Path) -> None:
    assert isinstance(lanes, HasEndpoint)
    task = Attempt(lanes, tmp_path, **ENDLESS)
    await task.until_it_writes()
    server = {process.pid for process in running_below(logs)}

    async with lanes.reach(LLAMA, lambda _: None) as endpoint, aiohttp.ClientSession() as session:
        asked = {"model": endpoint.model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
        url = f"{endpoint.url}/v1/chat/completions"
        async with session.post(url, json=asked, headers=endpoint.headers) as response:
            answer = await response.json()

    assert (response.status, answer["model"]) == (200, LLAMA)
    assert not task.running.done()
    assert {process.pid for process in running_below(logs)} == server
    await task.cancel()


async def test_a_guest_starts_the_server_and_its_model_stays(lanes: Engine) -> None:
    assert isinstance(lanes, HasEndpoint)
    notes: list[str] = []

    async with lanes.reach(LLAMA, notes.append) as endpoint:
        assert endpoint.url.startswith("http://127.0.0.1:")
        release = asyncio.create_task(lanes.release())
        await asyncio.sleep(0)
        assert [resident.model for resident in await lanes.resident()] == [LLAMA]
    await release

    assert notes[0] == f"loading {LLAMA}"
    assert await lanes.resident() == ()


async def test_an_attempt_that_is_cancelled_again_and_again_keeps_no_lane(
    lanes: Engine, logs: Path, tmp_path: Path
) -> None:
    attempt = Attempt(lanes, tmp_path, **ENDLESS)
    await attempt.until_it_writes()
    for process in running_below(logs):
        process.suspend()  # so that it does not notice that its answer is not waited for
    while not attempt.running.done():
        attempt.running.cancel()
        await asyncio.sleep(0)

    async with asyncio.timeout(120):
        embedded = await Attempt(lanes, tmp_path, embed=["a fox"], pooling="mean").running
    assert embedded.files
