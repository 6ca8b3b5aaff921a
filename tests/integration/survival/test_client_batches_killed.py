"""The server is killed in each step of a client's batch: every line is answered in the end, once."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import openai

from chaos.client import PatientClient
from chaos.kept import corral_up, keeping
from corral.tasks.store.pool import Pool
from corral.tasks.store.tokens import create_token
from doubles.openai_server import OpenAiDouble

CHAT = "/v1/chat/completions"
CLUSTER = """\
apiVersion: corral/v1
name: survival
nodes: [{name: here, gpus: []}]
engines: {openai: {instances: [{name: away, url: "URL"}]}}
"""
LINES = 80
DONE = "select count(*) from tasks where state = 'succeeded'"


def a_line(number: int) -> dict[str, Any]:
    model = "unknown" if number % 20 == 7 else "qwen"
    body = {"model": model, "messages": [{"role": "user", "content": f"say {number}"}]}
    return {"custom_id": f"request {number}", "method": "POST", "url": CHAT, "body": body}


async def when(pool: Pool, query: str, least: int) -> None:
    async with asyncio.timeout(90):
        while await pool.fetchval(query) < least:  # noqa: ASYNC110 (it is another process)
            await asyncio.sleep(0.002)


async def patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(90):
        while True:
            try:
                return await ask()
            except (openai.APIConnectionError, openai.InternalServerError):
                await asyncio.sleep(0.1)


async def test_killed_server_answers_every_line_of_a_batch_once(
    short_folder: Path, database_url: str, pool: Pool
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    async with OpenAiDouble(model_names={"qwen": {}}) as engine:
        (short_folder / "cluster.yaml").write_text(CLUSTER.replace("URL", engine.url))
        server = corral_up(
            short_folder / "data",
            short_folder / "cluster.yaml",
            short_folder / "server.log",
            *("--port", str(port)),
            env={"CORRAL_DATABASE_URL": database_url},
        )
        async with keeping(server), PatientClient(short_folder / "data") as home:
            await home.leading()
            _, token = await create_token(pool, name="night", role="submitter")
            door = f"http://127.0.0.1:{port}/v1"
            async with openai.AsyncOpenAI(base_url=door, api_key=token, max_retries=0) as client:
                content = "".join(f"{json.dumps(a_line(number))}\n" for number in range(LINES)).encode()
                file = await client.files.create(file=("night.jsonl", content), purpose="batch")
                batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
                server.kill()  # before its file is read, or while it is

                await when(pool, DONE, 10)
                server.kill()  # in the midst of it
                await when(pool, DONE, LINES - 4)
                server.kill()  # before its results are written, or while they are

                while batch.status != "completed":
                    await asyncio.sleep(0.05)
                    batch = await patiently(partial(client.batches.retrieve, batch.id))
                    assert batch.status in ("validating", "in_progress", "finalizing", "completed")
                assert batch.output_file_id is not None
                assert batch.error_file_id is not None
                output, error = batch.output_file_id, batch.error_file_id
                answered = (await patiently(lambda: client.files.content(output))).text.splitlines()
                refused = (await patiently(lambda: client.files.content(error))).text.splitlines()
                files = [listed.purpose async for listed in client.files.list()]
            await server.stop()

    assert server.starts == 4
    assert server.unexpected == []
    unknown = {f"request {number}" for number in range(LINES) if number % 20 == 7}
    ids = [json.loads(line)["custom_id"] for line in answered]
    assert sorted(ids) == sorted({f"request {number}" for number in range(LINES)} - unknown)
    assert sorted(json.loads(line)["custom_id"] for line in refused) == sorted(unknown)
    assert sorted(files) == ["batch", "batch_output", "batch_output"], "no result is recorded twice"
    assert await pool.fetchval("select count(*) from tasks") == LINES - len(unknown)
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (LINES, LINES - 4, 4)
    for line in map(json.loads, answered):
        number = line["custom_id"].split()[1]
        assert line["response"]["body"]["choices"][0]["message"]["content"].split() == ["say", number]
    used = await pool.fetchrow("select sum(requests) as requests from usage where key = 'night'")
    assert used is not None
    assert used["requests"] <= LINES - 4
