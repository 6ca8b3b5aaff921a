"""The console's door and its sessions: who gets in, with what, and what another page cannot do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from corral.requests import KeyFields
from corral.server.keys.failures import FailedKeys
from corral.server.services import Services
from corral.tasks.store.tokens import create_token, revoke_token
from doubles.serving import Serving, serving

CONSOLE = {"X-Corral-Console": "1"}
HTML = {"Accept": "text/html"}
SLEEP: dict[str, Any] = {"engine": "sleep", "inputs": {"seconds": 0}}


@pytest.fixture
async def public(services: Services) -> AsyncIterator[Serving]:
    """The API as it is beyond loopback, with a client that keeps cookies of addresses, as browsers do."""
    async with (
        serving(replace(services, loopback=False, console_url="http://barn:7433")) as api,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        yield replace(api, session=session)


async def log_in(api: Serving, body: dict[str, str], **headers: str) -> int:
    return (await api.post("/corral/v1/session", body, headers={**CONSOLE, **headers})).status


async def test_a_browser_gets_the_page_and_other_programs_ollamas_words(api: Serving) -> None:
    page = await api.get("/", headers=HTML)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert (await api.get("/")).body == b"Ollama is running"


async def test_a_file_is_kept_for_ever_and_the_page_is_asked_for_anew(api: Serving) -> None:
    page = await api.get("/", headers=HTML)
    assert page.headers["cache-control"] == "no-cache"
    again = await api.get("/", headers={**HTML, "If-None-Match": page.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    main = page.body.decode().split('src="')[1].split('"')[0]
    file = await api.get(f"/{main}")
    assert (file.status, file.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert "immutable" in file.headers["cache-control"]
    assert (await api.get("/console/old/main.js")).status == 404
    assert (await api.post("/", headers=HTML)).status == 404


async def test_a_token_logs_a_browser_in_and_is_never_in_an_answer(public: Serving, services: Services) -> None:
    _, secret = await create_token(services.pool, name="ada", role="submitter")
    assert (await public.get("/corral/v1/session")).json == {
        "owner": None,
        "role": None,
        "cluster": None,
        "has_cookie": False,
        "keeps_conversations": False,
    }
    answer = await public.post("/corral/v1/session", {"token": secret}, headers=CONSOLE)
    assert (answer.status, answer.json["owner"], answer.json["role"]) == (201, "ada", "submitter")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert secret not in answer.body.decode()

    assert (await public.get("/corral/v1/session")).json["owner"] == "ada"
    assert (await public.post("/corral/v1/tasks", SLEEP, headers=CONSOLE)).status == 201
    assert (await public.get("/corral/v1/tokens")).status == 403

    assert (await public.call("DELETE", "/corral/v1/session", headers=CONSOLE)).status == 204
    assert (await public.get("/corral/v1/tasks")).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**CONSOLE, "Sec-Fetch-Site": "cross-site"},
        {**CONSOLE, "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_another_page_can_change_nothing_with_the_cookie(
    public: Serving, services: Services, headers: dict[str, str]
) -> None:
    _, secret = await create_token(services.pool, name="ada", role="admin")
    assert await log_in(public, {"token": secret}) == 201
    answer = await public.post("/corral/v1/tasks", SLEEP, headers=headers)
    assert (answer.status, answer.json["error"]["code"]) == (403, "auth.forged")
    assert (await public.get("/corral/v1/tasks")).json["items"] == []


async def test_no_page_can_log_a_browser_in_without_the_consoles_header(public: Serving, services: Services) -> None:
    _, secret = await create_token(services.pool, name="ada", role="admin")
    assert (await public.post("/corral/v1/session", {"token": secret})).status == 403
    assert await log_in(public, {"token": "corral_wrong"}) == 401


async def test_the_cookie_opens_no_door_of_other_programs(public: Serving, services: Services) -> None:
    _, secret = await create_token(services.pool, name="ada", role="admin")
    assert await log_in(public, {"token": secret}) == 201
    assert (await public.get("/comfyui/queue", headers=CONSOLE)).status == 401


async def test_a_link_lets_a_browser_in_once_and_its_session_can_be_revoked(
    public: Serving, services: Services
) -> None:
    local = {"Authorization": f"Bearer {services.local_token}"}
    made = await public.post("/corral/v1/session/link", headers=local)
    link = made.json["link"]
    assert link.startswith("http://barn:7433/#code=")
    assert services.local_token not in link
    code = {"code": link.partition("#code=")[2]}
    assert await log_in(public, code) == 201
    session = (await public.get("/corral/v1/session")).json
    assert (session["owner"], session["role"]) == ("local", "admin")

    refused = await public.post("/corral/v1/session", code, headers=CONSOLE)
    assert (refused.status, refused.json["error"]["code"]) == (403, "auth.code")
    (token,) = await list_names(public, local)
    assert token.startswith("console-")
    services.keys.ring.forget(await revoke_token(services.pool, token))
    assert (await public.get("/corral/v1/tasks")).status == 401


async def test_an_invitation_becomes_a_token_once_and_an_older_or_withdrawn_one_never(
    public: Serving, services: Services
) -> None:
    local = {"Authorization": f"Bearer {services.local_token}"}
    asked = {"name": "grace", "role": "submitter", "tokens_per_day": 500, "lasts": 3600}
    old, link = [(await public.post("/corral/v1/invitations", asked, headers=local)).json["link"] for _ in range(2)]
    assert link.startswith("http://barn:7433/#code=invite_")
    codes = [{"code": written.partition("#code=")[2]} for written in (old, link)]
    refused = await public.post("/corral/v1/session", codes[0], headers=CONSOLE)
    assert (refused.status, refused.json["error"]["code"]) == (403, "invitation.unknown")
    assert await log_in(public, codes[1]) == 201
    session = (await public.get("/corral/v1/session")).json
    assert (session["owner"], session["role"]) == ("grace", "submitter")
    assert (await public.get("/corral/v1/invitations")).status == 403
    assert await log_in(public, codes[1]) == 403
    (token,) = (await public.get("/corral/v1/tokens", headers=local)).json["items"]
    assert (token["name"], token["tokens_per_day"]) == ("grace", 500)

    again = await public.post("/corral/v1/invitations", asked, headers=local)
    assert (again.status, again.json["error"]["code"]) == (409, "token.exists")
    late = await public.post("/corral/v1/invitations", {**asked, "name": "late"}, headers=local)
    withdrawn = await public.call("DELETE", "/corral/v1/invitations/late", headers=local)
    assert (withdrawn.status, withdrawn.json["name"]) == (200, "late")
    assert await log_in(public, {"code": late.json["link"].partition("#code=")[2]}) == 403
    acts = (await public.get("/corral/v1/audit", headers=local)).json["items"]
    assert [(act["action"], act["subject"]) for act in acts[:3]] == [
        ("invitation_withdrawn", "late"), ("invitation_sent", "late"), ("token_created", "grace"),
    ]  # fmt: skip
    granted = {"role": "submitter", "tokens_per_day": 500}
    assert acts[1]["details"] == granted
    assert acts[2]["details"] == granted | {"by": "invitation", "invited_by": "local"}
    kept = await services.pool.fetchval("select count(*) from invitations")
    assert kept == 0


async def test_an_invitation_outlives_neither_its_token_nor_a_revocation(public: Serving, services: Services) -> None:
    local = {"Authorization": f"Bearer {services.local_token}"}

    async def invite(name: str, **fields: str) -> Any:
        asked = {"name": name, "role": "viewer", "owner": "ada", **fields}
        return (await public.post("/corral/v1/invitations", asked, headers=local)).json

    assert (await invite("past", expires_at="2020-01-01T00:00:00Z"))["error"]["code"] == "invitation.token_ended"
    soon = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    assert datetime.fromisoformat((await invite("soon", expires_at=soon.isoformat()))["expires_at"]) == soon

    link = (await invite("eve"))["link"]
    await public.post("/corral/v1/tokens", {"name": "eve", "role": "viewer"}, headers=local)
    await public.call("DELETE", "/corral/v1/tokens/eve", headers=local)
    assert await log_in(public, {"code": link.partition("#code=")[2]}) == 403
    again = (await invite("eve"))["link"]
    await public.call("DELETE", "/corral/v1/tokens/eve", headers=local)
    assert await log_in(public, {"code": again.partition("#code=")[2]}) == 403
    acts = (await public.get("/corral/v1/audit", headers=local)).json["items"]
    assert [(act["action"], act["details"].get("by")) for act in acts if act["subject"] == "eve"] == [
        ("token_revoked", None), ("invitation_withdrawn", "token_revoked"), ("invitation_sent", None),
        ("token_revoked", None), ("token_created", None), ("invitation_withdrawn", "token_created"),
        ("invitation_sent", None),
    ]  # fmt: skip
    await services.pool.execute("update invitations set expires_at = now()")
    await invite("bob")
    assert await services.pool.fetch("select name from invitations") == [("bob",)]

    assert await log_in(public, {"code": (await invite("bob"))["link"].partition("#code=")[2]}) == 201
    (created,) = (await public.get("/corral/v1/audit?limit=1", headers=local)).json["items"]
    assert (created["owner"], created["subject"], created["details"]["owner"]) == ("ada", "bob", "ada")


async def test_an_address_with_many_unknown_codes_waits_and_uses_no_good_one_up(services: Services) -> None:
    local = {"Authorization": f"Bearer {services.local_token}"}
    public = replace(services, loopback=False, console_url="http://barn:7433")
    async with serving(replace(public, keys=replace(services.keys, failures=FailedKeys(most=2)))) as api:
        links = [
            (await api.post("/corral/v1/invitations", {"name": "grace", "role": "viewer"}, headers=local)).json["link"],
            (await api.post("/corral/v1/session/link", headers=local)).json["link"],
        ]
        good = [{"code": link.partition("#code=")[2]} for link in links]
        assert [await log_in(api, {"code": code}) for code in ("invite_wrong", "wrong")] == [403, 403]
        assert [await log_in(api, code) for code in good] == [429, 429]
    async with serving(public) as api:  # where no try has failed yet
        assert [await log_in(api, code) for code in good] == [201, 201]


async def list_names(api: Serving, headers: dict[str, str]) -> list[str]:
    return [token["name"] for token in (await api.get("/corral/v1/tokens", headers=headers)).json["items"]]


async def test_only_administrators_make_links_and_loopback_needs_no_code(
    api: Serving, public: Serving, services: Services
) -> None:
    _, secret = await create_token(services.pool, name="ada", role="submitter")
    assert (await public.post("/corral/v1/session/link", headers={"Authorization": f"Bearer {secret}"})).status == 403
    assert (await api.post("/corral/v1/session/link")).json == {"link": "/", "ends_at": None}


async def test_a_cookie_ends_with_its_token(public: Serving, services: Services) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)
    _, secret = await create_token(services.pool, name="ada", role="viewer", fields=KeyFields(expires_at=soon))
    answer = await public.post("/corral/v1/session", {"token": secret}, headers=CONSOLE)
    assert 0 < int(answer.headers["set-cookie"].split("Max-Age=")[1].split(";")[0]) <= 30


async def test_what_waits_is_listed_in_the_order_of_the_policy_and_can_be_moved(api: Serving) -> None:
    made = [(await api.post("/corral/v1/tasks", {**SLEEP, "name": name})).json["id"] for name in ("a", "b", "c")]
    moved = await api.post(f"/corral/v1/tasks/{made[2]}/priority", {"priority": "high"})
    assert (moved.status, moved.json["priority"]) == (200, "high")
    waiting = (await api.get("/corral/v1/waiting?limit=2")).json
    assert [item["task"]["name"] for item in waiting["items"]] == ["c", "a"]
    assert waiting["total"] == 3
    assert {item["explanation"]["rule"] for item in waiting["items"]} == {"undecided"}
    story = (await api.get(f"/corral/v1/tasks/{made[2]}/story")).json["items"]
    assert (story[-1]["kind"], story[-1]["data"]) == ("priority_changed", {"priority": "high", "by": "local"})

    await api.post(f"/corral/v1/tasks/{made[0]}/cancel")
    refused = await api.post(f"/corral/v1/tasks/{made[0]}/priority", {"priority": "low"})
    assert (refused.status, refused.json["error"]["code"]) == (409, "task.started")
