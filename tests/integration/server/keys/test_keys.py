"""Keys of clients: known without a query, changed everywhere at once, refused when their time is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from corral.requests import KeyFields
from corral.server.keys.failures import MOST_FAILURES, FailedKeys
from corral.server.keys.keeping import make_keys
from corral.server.keys.ring import KeyRing
from corral.server.services import Services
from corral.tasks.store.pool import Pool, open_pool
from corral.tasks.store.tokens import create_token, list_tokens, revoke_token
from doubles.serving import Serving, serving


def bearer(token: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


@pytest.fixture
async def public(services: Services) -> AsyncIterator[Serving]:
    """The API as it is beyond loopback."""
    async with serving(replace(services, loopback=False)) as api:
        yield api


async def test_known_key_is_found_without_the_database(database_url: str) -> None:
    pool = await open_pool(database_url)
    _, secret = await create_token(pool, name="ada", role="viewer")
    ring = KeyRing(pool)
    await ring.refresh()
    pool.terminate()
    known = await ring.find(secret)
    assert (known is not None and known.name) == "ada"


async def test_key_that_is_revoked_by_another_server_is_refused_here_soon(services: Services, pool: Pool) -> None:
    async with (
        serving(replace(services, loopback=False)) as here,
        serving(replace(services, loopback=False, keys=make_keys(pool))) as there,
    ):
        _, secret = await create_token(pool, name="ada", role="viewer")
        assert (await here.get("/corral/v1/tasks", **bearer(secret))).status == 200
        assert (await there.get("/corral/v1/tasks", **bearer(secret))).status == 200
        revoked = await there.call("DELETE", "/corral/v1/tokens/ada", **bearer(services.local_token))
        assert revoked.status == 200
        assert (await there.get("/corral/v1/tasks", **bearer(secret))).status == 401, "at once where it was revoked"

        async with asyncio.timeout(20):
            while (await here.get("/corral/v1/tasks", **bearer(secret))).status != 401:
                continue


async def test_reading_that_began_before_a_revocation_does_not_bring_the_key_back(pool: Pool) -> None:
    token, secret = await create_token(pool, name="ada", role="viewer")

    class Slow:
        """Returns what it read before the revocation, once; then reads anew."""

        reads = 0

        async def fetch(self, query: str, *args: object) -> Any:
            rows = await pool.fetch(query, *args)
            self.reads += 1
            if self.reads == 1:
                await revoke_token(pool, "ada")
                ring.forget(token)
            return rows

    slow: Any = Slow()
    ring = KeyRing(slow)
    await ring.refresh()
    assert slow.reads == 2
    assert ring.find_known(secret) is None


async def test_key_is_refused_from_its_end_on(pool: Pool) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    end = now + timedelta(hours=1)
    _, secret = await create_token(pool, name="ada", role="viewer", fields=KeyFields(expires_at=end))
    ring = KeyRing(pool, clock=lambda: now)
    assert await ring.find(secret) is not None
    now = end - timedelta(seconds=1)
    assert await ring.find(secret) is not None
    now = end
    assert await ring.find(secret) is None


async def test_use_of_a_key_is_noted_behind_the_requests(public: Serving, services: Services) -> None:
    _, secret = await create_token(services.pool, name="ada", role="viewer")
    before = datetime.now(UTC)
    assert (await public.get("/corral/v1/tasks", **bearer(secret))).status == 200
    used = None
    async with asyncio.timeout(20):
        while used is None:  # here or by the ring itself
            await services.keys.ring.write_uses()
            used = (await list_tokens(services.pool))[0].last_used_at
    assert before <= used <= datetime.now(UTC)


async def test_uses_that_could_not_be_noted_are_noted_later(pool: Pool) -> None:
    class AwayOnce:
        """A pool whose database does not take the first write."""

        fetchrow = staticmethod(pool.fetchrow)
        writes = 0

        async def execute(self, query: str, *args: object) -> str:
            self.writes += 1
            if self.writes == 1:
                raise ConnectionResetError
            return await pool.execute(query, *args)

    _, secret = await create_token(pool, name="ada", role="viewer")
    away: Any = AwayOnce()
    ring = KeyRing(away)
    assert await ring.find(secret) is not None
    with pytest.raises(ConnectionResetError):
        await ring.write_uses()
    assert (await list_tokens(pool))[0].last_used_at is None
    await ring.write_uses()
    assert (await list_tokens(pool))[0].last_used_at is not None


async def test_several_keys_of_one_owner_share_what_is_the_owners(public: Serving, services: Services) -> None:
    root = bearer(services.local_token)
    secrets: list[str] = []
    for name in ("ada-laptop", "ada-phone"):
        made = await public.post("/corral/v1/tokens", {"name": name, "role": "submitter", "owner": "ada"}, **root)
        assert (made.status, made.json["owner"]) == (201, "ada")
        secrets.append(made.json["token"])
    task = await public.post("/corral/v1/tasks", {"engine": "sleep", "inputs": {"seconds": 0}}, **bearer(secrets[0]))
    assert task.json["owner"] == "ada"
    cancelled = await public.post(f"/corral/v1/tasks/{task.json['id']}/cancel", **bearer(secrets[1]))
    assert cancelled.status == 200


async def test_limits_of_a_key_are_listed_as_they_were_asked(public: Serving, services: Services) -> None:
    root = bearer(services.local_token)
    asked = {
        "name": "ada",
        "role": "submitter",
        "models": ["qwen*"],
        "requests_per_minute": 60,
        "tokens_per_minute": 10_000,
        "tokens_per_day": 1_000_000,
        "concurrent": 4,
        "expires_at": "2999-01-01T00:00:00Z",
    }
    assert (await public.post("/corral/v1/tokens", asked, **root)).status == 201
    (listed,) = (await public.get("/corral/v1/tokens", **root)).json["items"]
    assert {name: listed[name] for name in asked} == asked
    assert listed["owner"] == "ada"
    (entry,) = (await public.get("/corral/v1/audit", **root)).json["items"]
    assert entry["details"]["requests_per_minute"] == 60


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner", "local"),
        ("owner", "a b"),
        ("models", []),
        ("requests_per_minute", 0),
        ("tokens_per_day", "many"),
        ("concurrent", True),
        ("expires_at", "tomorrow"),
    ],
)
async def test_limit_that_makes_no_sense_is_refused(api: Serving, field: str, value: object) -> None:
    assert (await api.post("/corral/v1/tokens", {"name": "ada", "role": "viewer", field: value})).status == 422


async def test_key_comes_in_the_header_of_anthropics_clients_too(public: Serving, services: Services) -> None:
    _, secret = await create_token(services.pool, name="ada", role="viewer")
    assert (await public.get("/corral/v1/tasks", headers={"x-api-key": secret})).status == 200
    assert (await public.get("/corral/v1/tasks", headers={"x-api-key": "wrong"})).status == 401


async def test_address_with_many_unknown_keys_is_refused_and_known_keys_are_not(
    public: Serving, services: Services
) -> None:
    _, secret = await create_token(services.pool, name="ada", role="viewer")
    assert (await public.get("/corral/v1/tasks", **bearer(secret))).status == 200
    for number in range(MOST_FAILURES):
        assert (await public.get("/corral/v1/tasks", **bearer(f"wrong-{number}"))).status == 401
    refused = await public.get("/corral/v1/tasks", **bearer("wrong"))
    assert (refused.status, refused.json["error"]["code"]) == (429, "auth.too_many_failures")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert (await public.get("/corral/v1/tasks", **bearer(secret))).status == 200


async def test_failures_are_counted_by_server(services: Services) -> None:
    keys = replace(services.keys, failures=FailedKeys(most=1))
    async with serving(replace(services, loopback=False, keys=keys)) as api:
        assert (await api.get("/corral/v1/tasks", **bearer("wrong"))).status == 401
        assert (await api.get("/corral/v1/tasks", **bearer("wrong"))).status == 429


async def test_key_with_chosen_models_submits_no_other_work(public: Serving, services: Services) -> None:
    fields = KeyFields(models=["qwen*"])
    _, secret = await create_token(services.pool, name="ada", role="submitter", fields=fields)
    task = {"engine": "llama", "model": "llama3.2", "inputs": {"prompt": "x"}}
    for path, body in (
        ("tasks", task),
        ("tasks", {"engine": "sleep", "inputs": {"seconds": 0}}),
        ("batches", {"name": "night", "tasks": [{**task, "model": "qwen2.5"}, task]}),
    ):
        refused = await public.post(f"/corral/v1/{path}", body, **bearer(secret))
        assert (refused.status, refused.json["error"]["code"]) == (403, "key.model"), body
        assert "qwen*" in refused.json["error"]["hint"]
    assert (await public.get("/corral/v1/tasks", **bearer(services.local_token))).json["items"] == []


async def test_submissions_count_as_requests_and_reading_does_not(public: Serving, services: Services) -> None:
    fields = KeyFields(requests_per_minute=2)
    _, secret = await create_token(services.pool, name="ada", role="submitter", fields=fields)
    task = {"engine": "sleep", "inputs": {"seconds": 0}}
    batch = {"name": "night", "tasks": [task, task, task]}
    assert (await public.post("/corral/v1/batches", batch, **bearer(secret))).status == 201
    assert (await public.post("/corral/v1/tasks", task, **bearer(secret))).status == 201
    refused = await public.post("/corral/v1/tasks", task, **bearer(secret))
    assert (refused.status, refused.json["error"]["code"]) == (429, "key.limit")
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert (await public.get("/corral/v1/tasks", **bearer(secret))).status == 200
