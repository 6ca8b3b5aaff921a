"""Conversations of the chat: kept for their owner alone, found by their words, gone when deleted, off by a setting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from corral.server.services import Services
from corral.tasks.store.conversations import MOST_BYTES_OF_EACH, MOST_CONVERSATIONS
from corral.tasks.store.tokens import create_token
from doubles.serving import Serving, serving

PATH = "/corral/v1/conversations"
PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
async def guarded(services: Services) -> AsyncIterator[Serving]:
    """The API as it is beyond loopback."""
    async with serving(replace(services, loopback=False)) as api:
        yield api


async def make_key(services: Services, name: str, role: str) -> dict[str, str]:
    _, secret = await create_token(services.pool, name=name, role=role)
    return {"Authorization": f"Bearer {secret}"}


async def begin(api: Serving, title: str, turns: list[dict[str, Any]], **request: Any) -> int:
    body = {"title": title, "system": "Be brief.", "models": ["smol"]}
    made = await api.post(PATH, body, **request)
    assert made.status == 201, made.json
    for turn in turns:
        added = await api.post(f"{PATH}/{made.json['id']}/turns", turn, **request)
        assert added.status == 201, added.json
    return made.json["id"]


def a_turn(asked: str, text: str = "Yes.", **fields: Any) -> dict[str, Any]:
    return {"asked": asked, "answers": [{"model": "smol", "text": text}], **fields}


async def list_titles(api: Serving, query: str = "", **request: Any) -> list[str]:
    return [item["title"] for item in (await api.get(f"{PATH}{query}", **request)).json["items"]]


async def test_a_conversation_is_kept_whole_and_listed_by_its_last_change(api: Serving) -> None:
    first = await begin(api, "Foxes", [a_turn("Is it red?", images=[PIXEL])])
    await begin(api, "Hens", [])
    said = {"model": "smol", "text": "It is.", "place": "node/cpu0/llama", "tokens": 3, "seconds": 0.5}
    await api.post(f"{PATH}/{first}/turns", {"asked": "And now?", "answers": [said]})

    whole = (await api.get(f"{PATH}/{first}")).json
    assert (whole["title"], whole["system"], whole["models"]) == ("Foxes", "Be brief.", ["smol"])
    assert [(turn["asked"], turn["images"]) for turn in whole["turns"]] == [("Is it red?", [PIXEL]), ("And now?", [])]
    assert whole["turns"][1]["answers"] == [{**said, "problem": None}]
    page = (await api.get(f"{PATH}?limit=1")).json
    assert [item["title"] for item in page["items"]] == ["Foxes"]
    assert "system" not in page["items"][0]  # it can be long, and a page has many
    assert await list_titles(api, f"?limit=1&cursor={page['next']}") == ["Hens"]


async def test_words_are_found_in_titles_questions_and_answers_as_they_are(api: Serving) -> None:
    await begin(api, "Foxes", [a_turn("How many?", "100% of them, said the VIXEN_1")])
    await begin(api, "Hens", [a_turn("100 hens?")])
    titles = {
        word: await list_titles(api, f"?search={word}") for word in ("fox", "hens%3F", "vixen_", "100%25", "_e_n")
    }
    assert titles == {"fox": ["Foxes"], "hens%3F": ["Hens"], "vixen_": ["Foxes"], "100%25": ["Foxes"], "_e_n": []}


async def test_an_owner_sees_only_its_own_and_an_administrator_too(guarded: Serving, services: Services) -> None:
    ada, bob = await make_key(services, "ada", "submitter"), await make_key(services, "bob", "admin")
    kept = await begin(guarded, "Mine", [a_turn("Is it red?")], headers=ada)
    assert await list_titles(guarded, headers=bob) == []
    refused = [
        await guarded.get(f"{PATH}/{kept}", headers=bob),
        await guarded.post(f"{PATH}/{kept}/turns", a_turn("And now?"), headers=bob),
        await guarded.call("DELETE", f"{PATH}/{kept}", headers=bob),
    ]
    assert {(answer.status, answer.json["error"]["code"]) for answer in refused} == {(404, "conversation.missing")}
    viewer = await make_key(services, "eye", "viewer")
    assert (await guarded.post(PATH, {"title": "x", "models": ["smol"]}, headers=viewer)).status == 403
    assert (await guarded.get(PATH)).status == 401

    assert (await guarded.call("DELETE", f"{PATH}/{kept}", headers=ada)).status == 204
    assert await list_titles(guarded, headers=ada) == []
    assert await services.pool.fetchval("select count(*) from conversation_turns") == 0


async def test_a_setting_turns_keeping_off_and_what_was_kept_can_still_be_deleted(
    api: Serving, services: Services
) -> None:
    kept = await begin(api, "Before", [])
    in_effect: Any = services.in_effect  # the double has the cluster as a field
    in_effect.cluster = replace(services.cluster, keeps_conversations=False)
    refused = [
        await api.post(PATH, {"title": "x", "models": ["m"]}),
        await api.post(f"{PATH}/{kept}/turns", a_turn("?")),
    ]
    assert [(answer.status, answer.json["error"]["code"]) for answer in refused] == [(403, "conversation.off")] * 2
    assert (await api.get("/corral/v1/session")).json["keeps_conversations"] is False
    assert (await api.call("DELETE", f"{PATH}/{kept}")).status == 204


@pytest.mark.parametrize(
    "turn",
    [
        a_turn("x", images=["https://example.org/a.png"]),
        a_turn("x", images=["data:image/svg+xml;base64,PHN2Zz4="]),
        {"asked": "x", "answers": []},
        a_turn("x", owner="ada"),
    ],
)
async def test_a_turn_that_no_chat_makes_is_refused(api: Serving, turn: dict[str, Any]) -> None:
    kept = await begin(api, "Foxes", [])
    assert (await api.post(f"{PATH}/{kept}/turns", turn)).status == 422


async def test_all_that_is_stored_counts_in_bytes_and_no_conversation_grows_without_end(
    api: Serving, services: Services
) -> None:
    long = "\u00e4" * 1000  # 2,000 bytes
    made = await api.post(PATH, {"title": "x", "system": long, "models": [long]})
    path = f"{PATH}/{made.json['id']}/turns"

    async def measure() -> int:
        return await services.pool.fetchval("select bytes from conversations where id = $1", made.json["id"])

    begun = await measure()
    assert begun > 4000
    said = {"model": long, "text": long, "problem": long, "place": "p" * 200}
    assert (await api.post(path, {"asked": long, "answers": [said] * 8})).status == 201
    stored = await services.pool.fetchval(
        "select octet_length(asked) + octet_length(answers::text) + octet_length(words) from conversation_turns"
    )
    assert await measure() - begun > 2000 * (1 + 8 * 3 + 1 + 8)
    assert await measure() - begun == pytest.approx(stored, rel=0.05)

    most = MOST_BYTES_OF_EACH
    await services.pool.execute("update conversations set bytes = $1", most - 1000)
    assert (await api.post(path, a_turn("?"))).status == 201
    refused = await api.post(path, a_turn(long))
    assert (refused.status, refused.json["error"]["code"]) == (429, "conversation.quota")
    assert await measure() < most

    await services.pool.execute(
        "insert into conversations (owner, title, system, models) select 'local', 'x', '', '{m}' "
        "from generate_series(2, $1)",
        MOST_CONVERSATIONS,
    )
    assert (await api.post(PATH, {"title": "x", "models": ["m"]})).status == 429
    assert (await api.post(path, a_turn("?"))).status == 201
