"""The protocol's own client runs a batch on a real server and explains it, over stdin and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import av
import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, ImageContent, ResourceLink, TextContent

from chaos.client import PatientClient
from chaos.kept import Kept
from corral.data_dir import find_server
from corral.tasks.store.pool import Pool
from corral.tasks.store.tokens import create_token

CLUSTER = """\
apiVersion: corral/v1
name: assisted
nodes: [{name: here, gpus: [], cpu: {slots: 1}}]
engines: {sleep: {enabled: true}, command: {enabled: true}}
"""
DRAW = """
import av, numpy
from fractions import Fraction
encoder = av.CodecContext.create("png", "w")
encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 1600, 800, "rgb24", Fraction(1, 25)
frame = av.VideoFrame.from_ndarray(numpy.zeros((800, 1600, 3), dtype="uint8"), format="rgb24")
packets = (*encoder.encode(frame), *encoder.encode(None))
open("drawn.png", "wb").write(b"".join(bytes(packet) for packet in packets))
"""
MODERN = "2026-07-28"


def read(result: CallToolResult) -> Any:
    """Return the JSON of an answer."""
    assert not result.is_error, result.content
    (text,) = (part for part in result.content if isinstance(part, TextContent))
    return json.loads(text.text)


def read_refusal(result: CallToolResult) -> str:
    assert result.is_error
    (text,) = result.content
    assert isinstance(text, TextContent)
    return text.text


def over_stdio(data_dir: Path) -> Client:
    arguments = ["-m", "corral", "mcp", "--data-dir", str(data_dir)]
    return Client(StdioServerParameters(command=sys.executable, args=arguments, cwd=data_dir.parent))


@asynccontextmanager
async def over_http(url: str, token: str | None = None, mode: str = "auto") -> AsyncIterator[Client]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def find_url(data_dir: Path) -> str:
    server = find_server(data_dir)
    assert server is not None
    return server.url


async def test_a_batch_is_run_and_explained_over_stdin_across_a_restart_of_the_server(
    server: Kept, client: PatientClient, short_folder: Path
) -> None:
    await client.leading()
    (short_folder / "lines.txt").write_text("one\ntwo\n")
    async with over_stdio(short_folder / "data") as assistant:
        assert assistant.protocol_version == MODERN
        described = read(await assistant.call_tool("describe_cluster", {"engine": "sleep"}))
        assert described["you"] == {"owner": "local", "role": "admin"}
        assert described["devices"][0]["slots"]
        assert described["inputs_of"]["sleep"]["required"] == ["seconds"]

        echo = {"engine": "command", "name": "echo", "matrix": {"argv": [["echo", "one"], ["echo", "two"]]}}
        draw = {"engine": "command", "inputs": {"argv": [sys.executable, "-c", DRAW], "outputs": ["*.png"]}}
        asked = {"name": "words", "tasks": [echo, {**draw, "name": "draw"}]}
        planned = read(await assistant.call_tool("submit", {**asked, "dry_run": True}))
        assert [task["name"] for task in planned["tasks"]] == ["echo-1", "echo-2", "draw"]
        submitted = read(await assistant.call_tool("submit", asked))
        again = read(await assistant.call_tool("submit", asked))
        assert again["batch"] == submitted["batch"]
        assert "idempotency_key" in again["note"]

        waited = read(await assistant.call_tool("wait", {"batch": submitted["batch"]}))
        while not waited["done"]:
            waited = read(await assistant.call_tool("wait", {"batch": submitted["batch"]}))
        assert waited["states"] == {"succeeded": 3}
        tasks = {task["name"]: task["id"] for task in submitted["tasks"]}
        await show_outputs(assistant, tasks)

        naps = [{"engine": "sleep", "inputs": {"seconds": seconds}} for seconds in (60, 1)]
        batch = read(await assistant.call_tool("submit", {"name": "naps", "tasks": naps}))
        first, second = (task["id"] for task in batch["tasks"])
        waiting = asyncio.create_task(assistant.call_tool("wait", {"batch": batch["batch"], "timeout_seconds": 30}))
        await until_it_reports(client, first)
        server.kill()
        await explain(assistant, client, batch["batch"], first, second)
        dropped = read(await assistant.call_tool("cancel", {"tasks": [second, 9999]}))
        assert [task["state"] for task in dropped["tasks"]] == ["cancelled"]
        assert len(dropped["refused"]) == 1
        cancelled = read(await assistant.call_tool("cancel", {"batch": batch["batch"]}))
        assert sum(cancelled["states"].values()) == 2
        ended = read(await waiting)
        assert ended["done"], ended
        retried = read(await assistant.call_tool("retry", {"task": second}))
        assert read(await assistant.call_tool("retry", {"task": second}))["id"] == retried["id"] != second
        assert read(await assistant.call_tool("wait", {"tasks": [retried["id"]]}))["tasks"][0]["state"] == "succeeded"


async def until_it_reports(client: PatientClient, task: int) -> None:
    """Wait until a task runs and has reported progress."""
    while not (await client.get(f"/corral/v1/tasks/{task}"))["progress"]:  # noqa: ASYNC110 (it is another process)
        await asyncio.sleep(0.05)


def read_size(picture: bytes) -> tuple[int, int]:
    with av.open(io.BytesIO(picture)) as opened:
        return opened.streams.video[0].width, opened.streams.video[0].height


async def show_outputs(assistant: Client, tasks: dict[str, int]) -> None:
    echoed = read(await assistant.call_tool("get_output", {"task": tasks["echo-2"]}))
    assert echoed["text"] == "two\n"
    drawn = await assistant.call_tool("get_output", {"task": tasks["draw"], "name": "drawn.png"})
    (picture,) = (part for part in drawn.content if isinstance(part, ImageContent))
    (link,) = (part for part in drawn.content if isinstance(part, ResourceLink))
    assert read_size(base64.b64decode(picture.data)) == (256, 128)
    async with aiohttp.ClientSession() as session, session.get(str(link.uri)) as whole:
        assert read_size(await whole.read()) == (1600, 800)
    shown = read(await assistant.call_tool("get_task", {"task": tasks["draw"]}))
    assert "drawn.png" in {output["name"] for output in shown["outputs"]}
    assert any("succeeded" in line for line in shown["story"])
    listed = read(await assistant.call_tool("list_tasks", {"state": ["succeeded"], "limit": 2}))
    assert len(listed["tasks"]) == 2
    assert listed["next"]


async def explain(assistant: Client, client: PatientClient, batch: int, first: int, second: int) -> None:
    """Explain after the server was killed: the first runs again, and the second waits for it."""
    await client.leading()
    await until_it_reports(client, first)
    now = read(await assistant.call_tool("wait", {"batch": batch, "timeout_seconds": 0}))
    assert not now["done"]
    assert [task["id"] for task in now["running"]] == [first]
    assert now["log"]
    explained = read(await assistant.call_tool("explain_waiting", {"batch": batch}))
    assert [task["id"] for task in explained["running"]] == [first]
    (reason,) = explained["waiting"]
    assert reason["task"] == second
    assert reason["slots"], reason
    assert (
        read(await assistant.call_tool("explain_waiting", {"task": second}))["rule"] == reason["rule"] == "slots_busy"
    )
    assert read(await assistant.call_tool("explain_waiting"))["total"] == 1
    summary = read(await assistant.call_tool("queue_summary"))
    assert (summary["running"], summary["waiting"]) == (1, 1)
    fits = read(await assistant.call_tool("fit", {"model": "llama3:8b", "gpus": ["RTX 4090"]}))
    assert fits["fits"]


async def test_http_has_the_roles_of_tokens_and_refuses_strangers(
    server: Kept, client: PatientClient, pool: Pool, short_folder: Path
) -> None:
    await client.leading()
    url = find_url(short_folder / "data")
    secrets = {role: (await create_token(pool, name=role, role=role))[1] for role in ("viewer", "submitter")}
    nap = {"tasks": [{"engine": "sleep", "inputs": {"seconds": 0}}]}
    async with over_http(url, secrets["viewer"]) as assistant:
        assert assistant.protocol_version == MODERN
        assert read(await assistant.call_tool("describe_cluster"))["you"] == {"owner": "viewer", "role": "viewer"}
        refusal = read_refusal(await assistant.call_tool("submit", nap))
        assert "role submitter" in refusal
    async with over_http(url, secrets["submitter"], mode="legacy") as assistant:
        assert assistant.protocol_version < MODERN
        batch = read(await assistant.call_tool("submit", nap))
        assert batch["owner"] == "submitter"
        done = read(await assistant.call_tool("wait", {"batch": batch["batch"]}))
        assert done["states"] == {"succeeded": 1}
        output = read(await assistant.call_tool("get_output", {"task": batch["tasks"][0]["id"]}))
        assert json.loads(output["text"]) == {"slept_s": 0}
        command = {"tasks": [{"engine": "command", "inputs": {"argv": ["true"]}}]}
        assert "cannot submit `command`" in read_refusal(await assistant.call_tool("submit", command))
        wrong = {"tasks": [{"engine": "sleep", "inputs": {"secnods": 1}, "files": {"a": "./lines.txt"}}]}
        refusal = read_refusal(await assistant.call_tool("submit", wrong))
        assert "at: tasks[0].inputs.secnods" in refusal
        assert "did you mean `seconds`?" in refusal
        assert "the server reads no files" in refusal
    async with over_http(url) as assistant:
        assert read(await assistant.call_tool("describe_cluster"))["you"]["role"] == "admin"
    ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    async with aiohttp.ClientSession() as session:
        for headers, status in (
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "http://evil.example", "Authorization": f"Bearer {secrets['submitter']}"}, 403),
        ):
            async with session.post(f"{url}/mcp", json=ask, headers=headers) as answer:
                assert (answer.status, (await answer.json())["error"]["kind"]) == (status, "denied")
                assert ("WWW-Authenticate" in answer.headers) == (status == 401)
        async with session.get(f"{url}/mcp", headers={"Accept": "text/event-stream"}) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("tool", "arguments", "place"),
    [
        ("wait", {"batch": 1, "tasks": [2]}, "tasks"),
        ("wait", {"tasks": ["first"]}, "tasks[0]"),
        ("get_task", {}, "task"),
        ("get_task", {"task": 1, "batch": 1}, "batch"),
        ("retry", {}, "task"),
        ("cancel", {}, "tasks"),
        ("explain_waiting", {"batch": 1, "task": 2}, "task"),
    ],
)
async def test_wrong_arguments_are_named(tool: str, arguments: dict[str, Any], place: str, tmp_path: Path) -> None:
    from corral.mcp.located import make_context
    from corral.mcp.serving import make_server

    async with Client(make_server(lambda _: make_context(None, tmp_path))) as assistant:
        assert f"at: {place}\n" in read_refusal(await assistant.call_tool(tool, arguments)) + "\n"
