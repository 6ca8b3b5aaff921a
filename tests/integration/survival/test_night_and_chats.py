"""A night's batch and chats on one slot, with a real llama: chats go next, and with `preempt` at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ollama import AsyncClient
from openai import AsyncOpenAI

from chaos.client import PatientClient
from chaos.kept import Kept
from corral.data_dir import find_server, models_dir
from corral.tasks.store.pool import Pool
from doubles.local_engines import LLAMA, real_models

Json = Any
CLUSTER = """\
apiVersion: corral/v1
name: night
nodes: [{name: here, gpus: [], cpu: {slots: 1}}]
engines: {llama: {options: {threads: 1}}}
queues: [{name: default}, {name: night}]
"""
PREEMPT = "scheduling: {preempt: {after: 1s}}\n"
DIGITS = {"prompt": "Count.", "grammar": "root ::= [0-9 ] root", "max_tokens": 120}
"""It writes as many tokens as it may: its grammar has no end."""
QUESTION = "Tell a story."


class Line(NamedTuple):
    """A line of the story."""

    task: int
    kind: str
    at: datetime
    because: str


class Chat(NamedTuple):
    """An answer, and when its first and its last word came: some words lie between, so that clocks need not agree."""

    words: str
    began_at: datetime
    ended_at: datetime


class Doors:
    """The official clients at both doors of the server."""

    def __init__(self, url: str, token: str) -> None:
        self.openai = AsyncOpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0, timeout=120)
        self.ollama = AsyncClient(host=url, timeout=120, headers={"Authorization": f"Bearer {token}"})

    async def chat(self) -> Chat:
        """Have a streamed chat at OpenAI's door."""
        stream = await self.openai.chat.completions.create(
            model=LLAMA, messages=[{"role": "user", "content": QUESTION}], max_tokens=16, stream=True
        )
        return await _listen(chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices)

    async def chat_with_ollama(self) -> Chat:
        """Have a streamed chat at Ollama's door."""
        turns = [{"role": "user", "content": QUESTION}]
        stream = await self.ollama.chat(LLAMA, turns, options={"num_predict": 16}, stream=True)
        return await _listen(line.message.content or "" async for line in stream)


async def _listen(words: AsyncIterator[str]) -> Chat:
    heard = [(word, datetime.now(UTC)) async for word in words]
    return Chat("".join(word for word, _ in heard), heard[0][1], heard[-1][1])


@pytest.fixture
async def doors(server: Kept, client: PatientClient, short_folder: Path) -> AsyncIterator[Doors]:
    """The doors of a server whose only slot can load the small model."""
    models = models_dir(short_folder / "data")
    models.parent.mkdir(parents=True, exist_ok=True)
    models.symlink_to((await asyncio.to_thread(real_models)).path(LLAMA).parents[1])
    await client.leading()
    presence = find_server(short_folder / "data")
    assert presence is not None
    doors = Doors(presence.url, presence.token)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(doors.openai.close)
        yield doors


async def submit_night(client: PatientClient, *names: str) -> list[int]:
    """Submit a batch for the night, and return its tasks once the first of them runs."""
    defaults = {"engine": "llama", "model": LLAMA, "queue": "night", "inputs": DIGITS}
    tasks = [{"name": name} for name in names]
    accepted = await client.post("/corral/v1/batches", {"name": names[0], "defaults": defaults, "tasks": tasks})
    batch = accepted["batch"]["id"]
    listed = (await client.get(f"/corral/v1/tasks?batch={batch}&order=oldest"))["items"]
    ids = [task["id"] for task in listed]
    await until(lambda: _is_running(client, ids[0]))
    return ids


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 (it is remote)
            await asyncio.sleep(0.02)


async def _is_running(client: PatientClient, task: int) -> bool:
    return (await client.get(f"/corral/v1/tasks/{task}"))["state"] == "running"


async def read_story(pool: Pool, tasks: Sequence[int]) -> list[Line]:
    """Return when these tasks were leased, given back, and ended."""
    rows = await pool.fetch(
        "select task_id, kind, at, data from events where task_id = any($1::bigint[]) order by id", tasks
    )
    lines = [(row, json.loads(row["data"]) if isinstance(row["data"], str) else row["data"]) for row in rows]
    return [
        Line(row["task_id"], row["kind"], row["at"], data.get("because", ""))
        for row, data in lines
        if row["kind"] in ("leased", "released", "succeeded", "attempt_failed", "attempt_lost")
    ]


async def test_chats_go_before_the_next_task_of_a_night_and_with_preempt_before_the_one_that_runs(
    client: PatientClient, doors: Doors, cluster_file: Path, pool: Pool
) -> None:
    first, second = night = await submit_night(client, "first", "second")
    chats = list(await asyncio.gather(doors.chat(), doors.chat_with_ollama()))
    for task in night:
        assert (await client.get(f"/corral/v1/tasks/{task}/wait?timeout=60"))["state"] == "succeeded"

    story = await read_story(pool, night)
    order = [(task, kind) for task in night for kind in ("leased", "succeeded")]
    assert [(line.task, line.kind) for line in story] == order, "nothing of the night was interrupted"
    ended_at = next(line.at for line in story if line.kind == "succeeded")
    begins_at = next(line.at for line in story if line.task == second)
    assert all(chat.words for chat in chats)
    assert ended_at <= min(chat.ended_at for chat in chats), "chats wait for the task that runs"
    assert max(chat.began_at for chat in chats) <= begins_at, "and for no other"

    cluster_file.write_text(CLUSTER + PREEMPT)
    await client.post("/corral/v1/reload", {})
    first, second = night = await submit_night(client, "fourth", "fifth")
    chats.clear()
    for chat in (doors.chat, doors.chat_with_ollama):
        await until(lambda: _is_running(client, first))
        chats.append(await chat())
    for task in night:
        ended = await client.get(f"/corral/v1/tasks/{task}/wait?timeout=60")
        assert (ended["state"], ended["attempts"], ended["losses"]) == ("succeeded", 0, 0)

    story = await read_story(pool, night)
    interrupted = [(first, "leased"), (first, "released")]
    goes_on = [(task, kind) for task in night for kind in ("leased", "succeeded")]
    assert [(line.task, line.kind) for line in story] == [*interrupted, *interrupted, *goes_on]
    releases = [line for line in story if line.kind == "released"]
    assert all("a guest goes first" in line.because for line in releases)
    begins = [line.at for line in story if line.kind == "leased"][1:3]
    for answer, released, begins_at in zip(chats, releases, begins, strict=True):
        assert answer.words
        assert released.at <= answer.ended_at
        assert answer.began_at <= begins_at, "what was interrupted goes on after the chat, before the rest of the night"
