"""Characters: each change is a revision, two editors lose nothing, an owner has its own, images stay."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from corral.cli.main import run_command
from corral.cluster.keeping import Retention
from corral.server.services import Services
from corral.tasks.retention import collect
from corral.tasks.store.tokens import create_token
from doubles.serving import Serving, serving

PATH = "/corral/v1/characters"
ELENA = {"look": "short red hair", "voice": "amy", "fields": {"armour": "silver"}}


@pytest.fixture
async def guarded(services: Services) -> AsyncIterator[Serving]:
    """The API as it is beyond loopback."""
    async with serving(replace(services, loopback=False)) as api:
        yield api


async def make_key(services: Services, name: str, role: str) -> dict[str, str]:
    _, secret = await create_token(services.pool, name=name, role=role)
    return {"Authorization": f"Bearer {secret}"}


async def put(api: Serving, name: str, body: dict[str, Any], **request: Any) -> Any:
    return await api.call("PUT", f"{PATH}/{name}", json=body, **request)


async def upload(api: Serving, content: bytes, name: str) -> str:
    return (await api.call("POST", f"/corral/v1/uploads?name={name}", data=content)).json["sha256"]


async def run(api: Serving, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    await asyncio.to_thread(run_command, [*arguments, "--url", api.url, "--json"])
    return json.loads(capsys.readouterr().out)


async def test_each_change_is_a_revision_that_stays_after_the_character_is_removed(api: Serving) -> None:
    assert (await put(api, "elena", {**ELENA, "revision": 0})).json == {"name": "elena", "revision": 1, "changed": True}
    assert (await put(api, "elena", ELENA)).json["changed"] is False
    assert (await put(api, "elena", {**ELENA, "look": "grey hair", "revision": 1})).json["revision"] == 2
    assert (await api.call("DELETE", f"{PATH}/elena?revision=2")).status == 204

    assert (await api.get(f"{PATH}/elena")).status == 404
    assert (await api.get(PATH)).json["items"] == []
    history = (await api.get(f"{PATH}/elena/history")).json["items"]
    looks = [row["character"] and row["character"]["look"] for row in history]
    assert (looks, [row["revision"] for row in history]) == ([None, "grey hair", "short red hair"], [3, 2, 1])
    assert (await put(api, "elena", {**ELENA, "revision": 0})).json["revision"] == 4
    assert (await api.get(f"{PATH}/elena")).json["fields"] == {"armour": "silver"}


async def test_of_two_editors_at_once_one_is_refused_and_nothing_is_lost(api: Serving) -> None:
    await put(api, "elena", ELENA)
    answers = await asyncio.gather(
        *(put(api, "elena", {**ELENA, "look": look, "revision": 1}) for look in ("grey hair", "black hair"))
    )
    assert sorted(answered.status for answered in answers) == [200, 409]
    refused = next(answered for answered in answers if answered.status == 409)
    assert refused.json["error"]["code"] == "character.changed"
    assert len((await api.get(f"{PATH}/elena/history")).json["items"]) == 2
    assert (await api.call("DELETE", f"{PATH}/elena?revision=1")).status == 409


async def test_several_are_saved_together_or_not_at_all(api: Serving) -> None:
    await put(api, "elena", ELENA)
    stale = {"characters": [{"name": "jordan"}, {"name": "elena", "look": "grey", "revision": 7}]}
    assert (await api.post(PATH, stale)).status == 409
    assert [item["name"] for item in (await api.get(PATH)).json["items"]] == ["elena"]
    absent = [{"name": "jordan", "images": ["0" * 64, "1" * 64]}, {"name": "nikki", "images": ["2" * 64]}]
    refused = await api.post(PATH, {"characters": absent})
    assert (refused.status, len(refused.json["error"]["problems"])) == (422, 3)
    twice = await api.post(PATH, {"characters": [{"name": "jordan"}, {"name": "jordan"}]})
    assert twice.status == 422
    page = (await api.post(PATH, {"characters": [{"name": name} for name in ("jordan", "Ada", "elena")]})).json
    assert [item["changed"] for item in page["items"]] == [True, True, True]
    first = (await api.get(f"{PATH}?limit=2")).json
    rest = (await api.get(f"{PATH}?limit=2&cursor={first['next']}")).json
    names = [item["name"] for item in (*first["items"], *rest["items"])]
    assert (names, rest["next"]) == (["Ada", "elena", "jordan"], None)


async def test_an_owner_sees_only_its_own_and_an_administrator_all(guarded: Serving, services: Services) -> None:
    ada, bob = await make_key(services, "ada", "submitter"), await make_key(services, "bob", "submitter")
    chief, eye = await make_key(services, "chief", "admin"), await make_key(services, "eye", "viewer")
    await put(guarded, "elena", ELENA, headers=ada)
    assert (await guarded.get(f"{PATH}/elena", headers=bob)).status == 404
    assert (await guarded.get(f"{PATH}/elena?owner=ada", headers=bob)).status == 403
    assert (await guarded.get(f"{PATH}/elena?owner=ada", headers=chief)).json["look"] == "short red hair"
    assert (await put(guarded, "elena", {"look": "grey"}, headers=bob)).json["revision"] == 1
    assert (await put(guarded, "nikki", {}, headers=eye)).status == 403
    assert (await guarded.get(f"{PATH}/elena", headers=ada)).json["look"] == "short red hair"


async def test_reference_images_stay_when_their_uploads_are_deleted_and_count_in_the_quota(
    api: Serving, services: Services
) -> None:
    sha256 = await upload(api, b"front", "front.png")
    await put(api, "elena", {"images": [sha256]})
    await put(api, "elena", {})
    assert (await api.call("DELETE", f"/corral/v1/uploads/{sha256}")).json["freed"] == 0
    none = timedelta(0)
    await collect(services.pool, services.artifacts, Retention(tasks=none, artifacts=none))
    answered = await api.get(f"{PATH}/elena/images/{sha256}")
    assert (answered.status, answered.body) == (200, b"front")
    assert (await api.get("/corral/v1/uploads")).json["bytes"] == len(b"front")
    await put(api, "jordan", {})
    assert (await api.get(f"{PATH}/jordan/images/{sha256}")).status == 404


async def test_what_is_exported_is_imported_again_without_a_change(
    api: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cast"
    (folder / "elena").mkdir(parents=True)
    for name in ("front.png", "side.jpg"):
        (folder / "elena" / name).write_bytes(name.encode())
    (folder / "elena" / "character.yaml").write_text("look: short red hair\nfields: {armour: 'silver: plate'}\n")
    assert [saved["changed"] for saved in (await run(api, capsys, "characters", "import", str(folder)))["items"]] == [
        True
    ]
    again = await run(api, capsys, "characters", "import", str(folder))
    assert [saved["changed"] for saved in again["items"]] == [False]

    out = tmp_path / "out"
    written = await run(api, capsys, "characters", "export", "--out", str(out))
    assert [character["name"] for character in written["items"]] == ["elena"]
    files = {path.name: path.read_bytes() for path in (out / "elena").iterdir() if path.suffix != ".yaml"}
    assert files == {"01-front.png": b"front.png", "02-side.jpg": b"side.jpg"}
    back = await run(api, capsys, "characters", "import", str(out))
    assert [saved["changed"] for saved in back["items"]] == [False]
    shown = (await api.get(f"{PATH}/elena")).json
    assert shown["images"] == [hashlib.sha256(name).hexdigest() for name in (b"front.png", b"side.jpg")]
