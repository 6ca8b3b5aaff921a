"""Who may do what: loopback, tokens, roles, and pages that try to use a browser on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from corral.cluster.values import Cluster, ServerRules
from corral.operations.reloading import ReloadAnswer, ReloadAsked
from corral.server.services import Services
from corral.tasks.store.tokens import create_token
from doubles.serving import Serving, serving

SLEEP: dict[str, Any] = {"engine": "sleep", "inputs": {"seconds": 0}}
ONE = {"text": "apiVersion: corral/v1\nname: one\nnodes: [{name: n, gpus: [{model: RTX 4090}]}]\n"}
LIMIT = [{"word": "limit", "value": "n/gpu0=300"}]
LOGGING_IN = {("/corral/v1/session", method) for method in ("get", "post", "delete")}
FOR_ADMINS = {"viewer": 403, "submitter": 403, "admin": 200}
COMMAND: dict[str, Any] = {"engine": "command", "inputs": {"argv": ["true"]}}


def bearer(token: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


class Changing:
    """Stands for the cluster file in effect: one that a test replaces."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    async def reload(self, asked: ReloadAsked) -> ReloadAnswer:
        raise NotImplementedError


@pytest.fixture
async def public(services: Services) -> AsyncIterator[Serving]:
    """The API as it is beyond loopback."""
    async with serving(replace(services, loopback=False)) as api:
        yield api


async def test_without_a_token_health_names_alarms_and_says_nothing_of_their_causes(
    public: Serving, services: Services
) -> None:
    _, viewer = await create_token(services.pool, name="ada", role="viewer")
    services.alarms.ring("retention", "PostgresError: no table x", hint="look at the database")

    for stranger in ({}, bearer("wrong")):
        answer = await public.get("/health/ready", **stranger)
        (alarm,) = answer.json["alarms"]
        assert (answer.status, alarm["name"], alarm["what"], alarm["hint"]) == (200, "retention", None, None)
        assert alarm["since"]

    (alarm,) = (await public.get("/health/ready", **bearer(viewer))).json["alarms"]
    assert (alarm["what"], alarm["hint"]) == ("PostgresError: no table x", "look at the database")


async def test_loopback_is_the_local_administrator(api: Serving) -> None:
    status = (await api.get("/corral/v1/status")).json
    assert (status["owner"], status["role"]) == ("local", "admin")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
async def test_page_that_uses_a_browser_here_is_refused(api: Serving, headers: dict[str, str]) -> None:
    for answer in (
        await api.get("/corral/v1/tasks", headers=headers),
        await api.post("/corral/v1/tasks", SLEEP, headers=headers),
    ):
        assert (answer.status, answer.json["error"]["code"]) == (401, "auth.not_authenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert (await api.get("/corral/v1/tasks")).json["items"] == []


async def test_own_page_is_served(api: Serving) -> None:
    assert (await api.get("/corral/v1/tasks", headers={"Origin": api.url})).status == 200


async def test_beyond_loopback_everything_but_health_needs_a_token(public: Serving) -> None:
    described = (await public.get("/openapi.json")).json
    for path, methods in described["paths"].items():
        for method in methods:
            answer = await public.call(method.upper(), path.replace("{id}", "1"))
            is_open = path.startswith("/health") or (path, method) in LOGGING_IN
            assert (answer.status == 401) is not is_open, f"{method} {path}"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer corral_wrong", "Bearer \xff"])
async def test_unusable_token_is_refused_even_on_loopback(api: Serving, header: str) -> None:
    answer = await api.get("/corral/v1/tasks", headers={"Authorization": header})
    assert (answer.status, answer.json["error"]["kind"]) == (401, "denied")


async def test_token_of_the_running_server_is_an_administrator(public: Serving, services: Services) -> None:
    status = (await public.get("/corral/v1/status", **bearer(services.local_token))).json
    assert (status["owner"], status["role"]) == ("local", "admin")


async def test_each_role_does_what_it_may(public: Serving, services: Services) -> None:
    tokens = {
        role: (await create_token(services.pool, name=role, role=role))[1] for role in ("viewer", "submitter", "admin")
    }
    allowed = [
        ("GET", "/corral/v1/tasks", None, {"viewer": 200, "submitter": 200, "admin": 200}),
        ("GET", "/metrics", None, {"viewer": 200, "submitter": 200, "admin": 200}),
        ("POST", "/corral/v1/tasks", SLEEP, {"viewer": 403, "submitter": 201, "admin": 201}),
        ("POST", "/corral/v1/tasks", COMMAND, {"viewer": 403, "submitter": 403, "admin": 201}),
        ("POST", "/corral/v1/queues/default/pause", None, {"viewer": 403, "submitter": 403, "admin": 200}),
        ("GET", "/corral/v1/tokens", None, {"viewer": 403, "submitter": 403, "admin": 200}),
        ("POST", "/corral/v1/gc", {}, {"viewer": 403, "submitter": 403, "admin": 200}),
        ("GET", "/corral/v1/gpus?name=5070ti", None, {"viewer": 200, "submitter": 200, "admin": 200}),
        ("GET", "/corral/v1/inventory", None, {"viewer": 403, "submitter": 403, "admin": 200}),
        ("GET", "/corral/v1/doctor", None, {"viewer": 403, "submitter": 403, "admin": 200}),
        ("POST", "/corral/v1/fit", {"model": "/etc/passwd"}, {"viewer": 403, "submitter": 403, "admin": 422}),
        ("POST", "/corral/v1/models/pull", {"model": "/nowhere"}, {"viewer": 403, "submitter": 403, "admin": 422}),
        ("POST", "/corral/v1/power", {"cluster": ONE, "here": "n"}, {"viewer": 403, "submitter": 403, "admin": 503}),
        ("POST", "/corral/v1/checklist", {"cluster": ONE, "restart": True, "changes": LIMIT}, FOR_ADMINS),
    ]
    for method, path, body, expected in allowed:
        seen = {
            role: (await public.call(method, path, json=body, **bearer(token))).status for role, token in tokens.items()
        }
        assert seen == expected, f"{method} {path}"


async def test_token_owns_what_it_submits_and_touches_nothing_else(public: Serving, services: Services) -> None:
    _, ada = await create_token(services.pool, name="ada", role="submitter")
    _, bob = await create_token(services.pool, name="bob", role="submitter")
    made = await public.post("/corral/v1/tasks", SLEEP, **bearer(ada))
    assert made.json["owner"] == "ada"
    cancel = f"/corral/v1/tasks/{made.json['id']}/cancel"
    refused = await public.post(cancel, **bearer(bob))
    assert (refused.status, refused.json["error"]["code"]) == (403, "auth.role")
    assert (await public.post(cancel, **bearer(ada))).status == 200
    assert (await public.post(f"/corral/v1/tasks/{made.json['id']}/retry", **bearer(bob))).status == 403
    again = await public.post(f"/corral/v1/tasks/{made.json['id']}/retry", **bearer(services.local_token))
    assert again.json["owner"] == "ada", "an administrator's retry stays its owner's work"


async def test_token_is_shown_once_and_refused_from_its_revocation_on(public: Serving, services: Services) -> None:
    root = bearer(services.local_token)
    made = await public.post("/corral/v1/tokens", {"name": "ada", "role": "viewer"}, **root)
    secret = made.json["token"]
    assert made.status == 201
    assert secret.startswith("corral_")
    assert secret not in (await public.get("/corral/v1/tokens", **root)).body.decode()
    stored = await services.pool.fetch("select * from tokens")
    assert secret not in str([dict(row) for row in stored])
    assert (await public.get("/corral/v1/tasks", **bearer(secret))).status == 200
    assert (await public.call("DELETE", "/corral/v1/tokens/ada", **root)).json["revoked_at"]
    assert (await public.get("/corral/v1/tasks", **bearer(secret))).status == 401


async def test_name_of_a_token_is_taken_until_it_is_revoked(api: Serving) -> None:
    asked = {"name": "ada", "role": "viewer"}
    first = await api.post("/corral/v1/tokens", asked)
    assert (await api.post("/corral/v1/tokens", asked)).status == 409
    await api.call("DELETE", "/corral/v1/tokens/ada")
    again = await api.post("/corral/v1/tokens", asked)
    assert (again.status, again.json["token"] != first.json["token"]) == (201, True)
    assert (await api.call("DELETE", "/corral/v1/tokens/nobody")).status == 404


@pytest.mark.parametrize("name", ["local", "", "a b", "-", "a" * 65])
async def test_name_that_is_reserved_or_unreadable_is_refused(api: Serving, name: str) -> None:
    assert (await api.post("/corral/v1/tokens", {"name": name, "role": "admin"})).status == 422


async def test_the_cluster_file_can_ask_for_tokens_on_loopback_and_take_it_back(services: Services) -> None:
    open_file = services.cluster
    file = Changing(open_file)
    local = {"headers": {"Authorization": f"Bearer {services.local_token}"}}
    async with serving(replace(services, in_effect=file)) as api:
        assert (await api.get("/corral/v1/status")).json["trusts_loopback"] is True

        file.cluster = replace(open_file, server=ServerRules(require_token=True))
        refused = await api.get("/corral/v1/tasks")
        assert (refused.status, refused.json["error"]["code"]) == (401, "auth.not_authenticated")
        assert (await api.get("/corral/v1/status", **local)).json["trusts_loopback"] is False

        file.cluster = open_file
        assert (await api.get("/corral/v1/tasks")).status == 200


async def test_what_was_asked_for_at_the_start_is_not_taken_back_by_the_cluster_file(services: Services) -> None:
    async with serving(replace(services, loopback=False)) as api:
        assert services.cluster.server.require_token is False
        assert (await api.get("/corral/v1/tasks")).status == 401
