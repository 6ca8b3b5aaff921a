"""Usage is counted once, whatever is killed, and shown by key, model and day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from corral.gateway.doors import Visitor
from corral.gateway.usage import Served, Tokens
from corral.requests import KeyFields
from corral.server.doors.accounts import Accounts
from corral.server.keys.limits import KeyLimitError, KeyModelError
from corral.server.keys.usage import UsageBook
from corral.server.services import Services
from corral.slots.device_use import DeviceUse
from corral.tasks.energy import EnergyBook
from corral.tasks.store.pool import Pool
from corral.tasks.store.tokens import create_token
from corral.tasks.store.usage import UsageBy, Used, count_ended_tasks, list_usage
from corral.work import SlotId
from doubles.serving import Serving, serving

NIGHT = datetime(2030, 5, 1, 23, 59, tzinfo=UTC)
TEN = Used(requests=1, prompt_tokens=7, completion_tokens=3, seconds=1.5)


def bearer(token: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


@pytest.fixture
async def public(services: Services) -> AsyncIterator[Serving]:
    """The API as it is beyond loopback."""
    async with serving(replace(services, loopback=False)) as api:
        yield api


def a_visitor(**limits: Any) -> Visitor:
    return Visitor(owner="ada", can_submit=True, key="ada-laptop", limits=KeyFields(**limits))


def served(visitor: Visitor, prompt: int | None, completion: int | None, model: str = "qwen") -> Served:
    return Served(visitor=visitor, model=model, door="openai", tokens=Tokens(prompt=prompt, completion=completion))


class LostAnswer:
    """A pool whose connection is lost once, after the commit: the writer cannot know that it was written."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.is_lost = True

    def acquire(self) -> Any:  # asyncpg's own context
        return _Losing(self._pool.acquire(), self)


class _Losing:
    def __init__(self, inner: Any, owner: LostAnswer) -> None:
        self._inner, self._owner = inner, owner

    async def __aenter__(self) -> Any:
        return await self._inner.__aenter__()

    async def __aexit__(self, *reason: Any) -> None:
        await self._inner.__aexit__(*reason)
        if self._owner.is_lost:
            self._owner.is_lost = False
            raise ConnectionResetError


async def test_write_whose_answer_is_lost_is_sent_again_and_counts_once(pool: Pool) -> None:
    lost: Any = LostAnswer(pool)
    book = UsageBook(lost, clock=lambda: NIGHT)
    book.add(key="ada", owner="ada", model="qwen", used=TEN)
    with pytest.raises(ConnectionResetError):
        await book.write()
    book.add(key="ada", owner="ada", model="qwen", used=TEN)
    assert book.count_today("ada") == 20
    await book.write()
    (line,) = await list_usage(pool, by=UsageBy.KEY)
    assert (line.key, line.requests, line.prompt_tokens, line.completion_tokens) == ("ada", 2, 14, 6)


async def test_tokens_of_a_day_are_those_of_all_servers_and_end_at_midnight(pool: Pool) -> None:
    now = NIGHT
    here, there = (UsageBook(pool, clock=lambda: now) for _ in range(2))
    for book in (here, there):
        book.add(key="ada", owner="ada", model="qwen", used=TEN)
        await book.write()
    await here.read()
    assert here.count_today("ada") == 20
    here.add(key="ada", owner="ada", model="qwen", used=TEN)
    assert here.count_today("ada") == 30
    await here.write()
    assert here.count_today("ada") == 30
    now = NIGHT + timedelta(minutes=1)
    assert here.count_today("ada") == 0
    await here.read()
    assert here.count_today("ada") == 0
    days = await list_usage(pool, by=UsageBy.DAY)
    assert [(line.day, line.requests) for line in days] == [(NIGHT.date(), 3)]


async def test_tasks_count_once_for_the_key_of_their_submission(
    public: Serving, services: Services, pool: Pool
) -> None:
    _, secret = await create_token(pool, name="ada-laptop", role="submitter", fields=KeyFields(owner="ada"))
    tasks = [{"engine": "sleep", "model": "qwen", "inputs": {"seconds": 0}}] * 3
    made = await public.post("/corral/v1/batches", {"name": "night", "tasks": tasks}, **bearer(secret))
    assert made.status == 201
    first, second, _ = [task["id"] for task in made.json["tasks"]]
    await end_task(pool, first, {"prompt_tokens": 100, "completion_tokens": 20})
    await end_task(pool, second, {"text": "no count", "prompt_tokens": None})
    await pool.execute(
        "update tasks set state = 'succeeded', started_at = now(), finished_at = now() + interval '90 s' where id = $1",
        first,
    )
    await pool.execute("insert into prompts (task_id, owner, id) values ($1, 'ada', 'a')", second)
    for _ in range(2):
        await count_ended_tasks(pool)
    shown = await public.get("/corral/v1/usage?by=key", **bearer(services.local_token))
    (line,) = shown.json["items"]
    assert (line["key"], line["owner"], line["model"]) == ("ada-laptop", "ada", None)
    assert (line["requests"], line["prompt_tokens"], line["completion_tokens"], line["seconds"]) == (2, 100, 20, 90)
    doors = (await public.get("/corral/v1/usage?by=door", **bearer(services.local_token))).json["items"]
    assert [(line["door"], line["requests"], line["seconds"]) for line in doors] == [
        ("queue", 1, 90),
        ("comfyui", 1, 0),
    ]


async def end_task(pool: Pool, task: int, result: dict[str, Any]) -> None:
    """Write what the dispatcher writes of a task that has succeeded, as far as usage reads it."""
    await pool.execute("update tasks set result = $2 where id = $1", task, result)
    await pool.execute(
        "insert into events (task_id, kind, data) values ($1, 'succeeded', $2)", task, {"state": "succeeded"}
    )


async def test_usage_is_shown_by_what_was_asked_and_others_see_their_own(public: Serving, services: Services) -> None:
    for key, owner, model, engine, door in (
        ("a1", "ada", "qwen", "ollama", "openai"),
        ("a2", "ada", "qwen", "ollama", "ollama"),
        ("b1", "bob", "llama", "llama", "openai"),
        (None, "local", "qwen", None, "openai"),
    ):
        services.keys.usage.add(key=key, owner=owner, model=model, used=TEN, engine=engine, door=door)
    root = bearer(services.local_token)
    by_model = (await public.get("/corral/v1/usage?by=model", **root)).json["items"]
    assert [(line["model"], line["requests"]) for line in by_model] == [("qwen", 3), ("llama", 1)]
    by_engine = (await public.get("/corral/v1/usage?by=engine", **root)).json["items"]
    assert [(line["engine"], line["seconds"]) for line in by_engine] == [("ollama", 3), ("llama", 1.5), (None, 1.5)]
    by_door = (await public.get("/corral/v1/usage?by=door", **root)).json["items"]
    assert [(line["door"], line["requests"]) for line in by_door] == [("openai", 3), ("ollama", 1)]
    whole = (await public.get("/corral/v1/usage", **root)).json["items"]
    assert {(line["key"], line["owner"], line["model"]) for line in whole} == {
        ("a1", "ada", "qwen"),
        ("a2", "ada", "qwen"),
        ("b1", "bob", "llama"),
        (None, "local", "qwen"),
    }
    _, ada = await create_token(services.pool, name="ada", role="viewer")
    own = (await public.get("/corral/v1/usage?by=key", **bearer(ada))).json["items"]
    assert {line["key"] for line in own} == {"a1", "a2"}
    assert (await public.get("/corral/v1/usage?since=2999-01-01", **root)).json["items"] == []
    assert (await public.get("/corral/v1/usage?since=yesterday", **root)).status == 422


async def test_door_holds_a_key_to_its_models_and_its_tokens(services: Services) -> None:
    accounts = Accounts(services.keys)
    visitor = a_visitor(models=["qwen"], tokens_per_minute=100, concurrent=1)
    with pytest.raises(KeyModelError):
        accounts.begin(visitor, "llama")
    accounts.begin(visitor, "qwen")
    with pytest.raises(KeyLimitError, match="1 of 1 requests under way"):
        accounts.begin(visitor, "qwen")
    accounts.record(served(visitor, 90, 30))
    accounts.end(visitor, "qwen")
    with pytest.raises(KeyLimitError, match="100 tokens within a minute"):
        accounts.begin(visitor, "qwen")
    assert services.keys.usage.count_today("ada-laptop") == 120


async def test_requests_without_a_key_have_no_limits_and_count(services: Services) -> None:
    accounts = Accounts(services.keys)
    local = Visitor(owner="local", can_submit=True)
    accounts.begin(local, "qwen")
    accounts.record(served(local, None, None))
    accounts.end(local, "qwen")
    await services.keys.usage.write()
    (line,) = await list_usage(services.pool, by=None)
    assert (line.key, line.owner, line.requests, line.tokens) == (None, "local", 1, 0)


async def test_energy_of_gpus_is_told_beside_what_forecasts_take(
    public: Serving, services: Services, pool: Pool
) -> None:
    book = EnergyBook(now=lambda: NIGHT)
    gpu = SlotId("node/gpu0")
    for joules in (0.0, 3.6e6):
        book.note_look({gpu: DeviceUse(energy_j=joules)})
    await book.write(pool, at_once=True)
    since = quote((NIGHT - timedelta(hours=2)).isoformat())
    until = quote((NIGHT + timedelta(hours=2)).isoformat())
    shown = await public.get(f"/corral/v1/usage/energy?since={since}&until={until}", **bearer(services.local_token))
    (line,) = shown.json["items"]
    assert (line["device"], line["joules"], line["work_joules"]) == ("node/gpu0", 3.6e6, 0)
    assert (line["watts"], line["deviation"]) == (None, None), "nothing ran, so nothing is known of its draw at work"
    long_ago = quote((NIGHT - timedelta(days=400)).isoformat())
    refused = await public.get(
        f"/corral/v1/usage/energy?since={long_ago}&until={until}", **bearer(services.local_token)
    )
    assert (refused.status, refused.json["error"]["code"]) == (422, "usage.span")
