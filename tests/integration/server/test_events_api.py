"""Streams and waits: nothing is missed, nothing is told twice, and everything ends when the server does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import aiohttp

from corral.server.api.streams import MAX_STREAMS
from corral.server.services import Services
from corral.tasks.board import Preview, Progress
from corral.tasks.store.tokens import create_token
from corral.work import SlotId
from doubles import queue_life
from doubles.serving import Serving, serving

SLEEP: dict[str, Any] = {"engine": "sleep", "inputs": {"seconds": 0}}


@dataclass
class Event:
    id: int | None = None
    kind: str = ""
    data: dict[str, Any] = field(default_factory=dict)


class Stream:
    """Reads server-sent events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> Event | None:
        """Return the next event; None at the end."""
        event = Event()
        async for raw in self.response.content:
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            match name:
                case "id":
                    event.id = int(value)
                case "event":
                    event.kind = value
                case "data":
                    event.data = json.loads(value)
                case "" if event.kind:
                    return event
                case _:
                    pass
        return None

    async def take(self, count: int) -> list[Event]:
        """Return the next events."""
        return [event for _ in range(count) if (event := await self.next()) is not None]


@asynccontextmanager
async def following(api: Serving, query: str = "", **request: Any) -> AsyncIterator[Stream]:
    async with api.session.get(f"{api.url}/corral/v1/events{query}", **request) as response:
        assert response.status == 200, await response.read()
        yield Stream(response)


async def submitted(api: Serving, **changes: Any) -> int:
    answer = await api.post("/corral/v1/tasks", {**SLEEP, **changes})
    assert answer.status == 201, answer.body
    return answer.json["id"]


async def test_stream_tells_what_happens_from_now_on(api: Serving, services: Services) -> None:
    await submitted(api)
    async with following(api) as stream:
        id = await submitted(api)
        await queue_life.succeed(services.pool, id)
        events = await stream.take(4)
    assert [event.kind for event in events] == ["submitted", "leased", "started", "succeeded"]
    assert {event.data["task"] for event in events} == {id}


async def test_resumed_stream_misses_nothing_and_repeats_nothing(api: Serving) -> None:
    for _ in range(3):
        await submitted(api)
    async with following(api, "?after=0") as stream:
        first = await stream.take(2)
    await submitted(api)
    async with following(api, "?after=0", headers={"Last-Event-ID": str(first[-1].id)}) as stream:
        rest = await stream.take(2)
        await submitted(api)
        rest += await stream.take(1)
    story = (await api.get("/corral/v1/tasks?order=oldest")).json["items"]
    assert [event.data["task"] for event in (*first, *rest)] == [task["id"] for task in story]


async def test_stream_under_concurrent_submissions_tells_each_once_in_order(api: Serving) -> None:
    count = 60
    async with following(api, "?after=0") as stream:
        submitting = asyncio.gather(*(submitted(api) for _ in range(count)))
        events = await stream.take(count)
        ids = await submitting
    assert sorted(event.data["task"] for event in events) == sorted(ids)
    assert [event.id for event in events] == sorted(event.id or 0 for event in events)


async def test_stream_ends_when_its_token_is_revoked(services: Services) -> None:
    _, secret = await create_token(services.pool, name="ada", role="viewer")
    async with (
        serving(services, heartbeat_s=0.02) as api,
        following(api, headers={"Authorization": f"Bearer {secret}"}) as stream,
    ):
        assert not stream.response.content.at_eof()
        await api.call("DELETE", "/corral/v1/tokens/ada")
        assert await stream.next() is None


async def test_stream_of_one_task_is_silent_about_others(api: Serving) -> None:
    first, second = await submitted(api), await submitted(api)
    async with following(api, f"?after=0&task={second}") as stream:
        await api.post(f"/corral/v1/tasks/{first}/cancel")
        await api.post(f"/corral/v1/tasks/{second}/cancel")
        events = await stream.take(2)
    assert [(event.kind, event.data["task"]) for event in events] == [
        ("submitted", second),
        ("cancel_requested", second),
    ]


async def test_progress_and_previews_come_without_ids(api: Serving, services: Services) -> None:
    slot, attempt = SlotId("node/cpu0"), uuid4()
    async with following(api) as stream:
        await submitted(api)
        await stream.take(1)  # the stream is up
        services.board.publish(
            Progress(task=7, batch=None, attempt=attempt, slot=slot, fraction=0.5, note="half", at=datetime.now(UTC))
        )
        services.board.publish(
            Preview(task=7, batch=None, attempt=attempt, media_type="text/plain", data=b"once", at=datetime.now(UTC))
        )
        events = await stream.take(2)
    assert [(event.id, event.kind) for event in events] == [(None, "progress"), (None, "preview")]
    assert (events[0].data["fraction"], events[0].data["slot"]) == (0.5, "node/cpu0")
    assert events[1].data["data_base64"] == "b25jZQ=="


async def test_stream_of_what_does_not_exist_is_refused(api: Serving) -> None:
    assert (await api.get("/corral/v1/events?task=7")).status == 404
    assert (await api.get("/corral/v1/events?batch=7")).status == 404
    assert (await api.get("/corral/v1/events", headers={"Last-Event-ID": "x"})).status == 422


async def test_streams_are_bounded_for_each_owner_and_in_all_and_give_their_place_back(
    api: Serving, services: Services
) -> None:
    most = services.cluster.server.streams_per_owner
    secrets = [(await create_token(services.pool, name=name, role="viewer"))[1] for name in ("ada", "bob")]
    by_owner = [{"Authorization": f"Bearer {secret}"} for secret in secrets]
    assert 2 * most == MAX_STREAMS, "the two fill the server"

    async def ask(headers: dict[str, str]) -> tuple[int, str]:
        refused = await api.get("/corral/v1/events", headers=headers)
        return refused.status, refused.json["error"]["what"]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        open_streams: list[aiohttp.ClientResponse] = []
        for headers in by_owner:
            open_streams += [await session.get(f"{api.url}/corral/v1/events", headers=headers) for _ in range(most)]
            if headers is by_owner[0]:
                assert await ask(headers) == (429, f"'ada' has {most} streams of events open")
        assert [stream.status for stream in open_streams] == [200] * MAX_STREAMS
        assert await ask({}) == (429, f"{MAX_STREAMS} streams of events are open")
        for stream in open_streams:
            stream.close()
    status = 429
    while status == 429:  # the server notices a closed connection on its own time
        async with api.session.get(f"{api.url}/corral/v1/events") as again:
            status = again.status
    assert status == 200


async def test_stopping_server_ends_streams_and_waits(api: Serving) -> None:
    id = await submitted(api)
    async with following(api, "?after=0") as stream:
        await stream.take(1)
        waiting = asyncio.create_task(api.get(f"/corral/v1/tasks/{id}/wait?timeout=60"))
        while b"corral_http_requests_in_progress 3.0" not in (await api.get("/metrics")).body:
            pass  # the stream, the wait, and the scrape itself
        await api.stop()
        assert await stream.next() is None
    assert (await waiting).json["state"] == "queued"


async def test_wait_answers_when_the_task_ends(api: Serving, services: Services) -> None:
    id = await submitted(api)
    waiting = asyncio.create_task(api.get(f"/corral/v1/tasks/{id}/wait?timeout=60"))
    while b"corral_http_requests_in_progress 2.0" not in (await api.get("/metrics")).body:
        pass  # the wait, and the scrape itself
    await queue_life.succeed(services.pool, id)
    assert (await waiting).json["state"] == "succeeded"


async def test_wait_for_a_batch_answers_when_its_last_task_ends(api: Serving, services: Services) -> None:
    asked = {"name": "night", "tasks": [SLEEP, SLEEP]}
    made = (await api.post("/corral/v1/batches", asked)).json
    first, second = (task["id"] for task in made["tasks"])
    waiting = asyncio.create_task(api.get(f"/corral/v1/batches/{made['batch']['id']}/wait?timeout=60"))
    await queue_life.succeed(services.pool, first)
    await queue_life.fail(services.pool, second)
    answer = (await waiting).json
    assert (answer["done"], answer["states"]) == (True, {"succeeded": 1, "failed": 1})


async def test_wait_of_no_time_answers_with_what_is(api: Serving) -> None:
    id = await submitted(api)
    assert (await api.get(f"/corral/v1/tasks/{id}/wait?timeout=0")).json["state"] == "queued"
    for timeout in ("61", "-1", "nan", "inf"):
        assert (await api.get(f"/corral/v1/tasks/{id}/wait?timeout={timeout}")).status == 422


async def test_stream_and_server_outlive_the_loss_of_every_connection(api: Serving, services: Services) -> None:
    async with following(api, "?after=0") as stream:
        await submitted(api)
        await stream.take(1)
        await services.pool.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        id = await submitted(api)
        events = await stream.take(1)
    assert [event.data["task"] for event in events] == [id]
