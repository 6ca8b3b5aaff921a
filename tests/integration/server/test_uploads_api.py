"""Uploads are within their owner's quota, leave the disk's reserve, and can be deleted when nothing open takes them."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corral.cli.main import run_command
from corral.cluster.values import Cluster, EngineSettings, Node, QueueSettings, ServerRules
from corral.operations.reloading import ReloadAnswer, ReloadAsked
from corral.server.services import Services
from corral.tasks.store.tokens import create_token
from corral.units import Bytes
from doubles import queue_life
from doubles.serving import Answered, Serving, serving

UPLOADS = "/corral/v1/uploads"
QUOTA = Bytes(1000)
OLD_S = 7200


class Fixed:
    """Stands for the cluster file in effect: one that a test puts in place."""

    def __init__(self, server: ServerRules) -> None:
        self.cluster = Cluster(
            name="test",
            nodes=(Node(name="node"),),
            engines={name: EngineSettings(name=name) for name in ("sleep", "command")},
            queues={"default": QueueSettings(name="default")},
            server=server,
        )

    async def reload(self, asked: ReloadAsked) -> ReloadAnswer:
        raise NotImplementedError


@pytest.fixture
async def api(services: Services) -> AsyncIterator[Serving]:
    """A server whose owners can have 1,000 bytes of uploads."""
    rules = ServerRules(uploads_per_owner=QUOTA, disk_reserve=Bytes(0))
    async with serving(replace(services, in_effect=Fixed(rules))) as api:
        yield api


async def upload(api: Serving, content: bytes, name: str = "in.bin", **request: Any) -> Answered:
    return await api.call("POST", f"{UPLOADS}?name={name}", data=content, **request)


def name_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_old(services: Services, content: bytes) -> Path:
    """Let a stored file be two hours old, and return where it is."""
    path = services.artifacts.root / name_of(content)[:2] / name_of(content)
    past = path.stat().st_mtime - OLD_S
    os.utime(path, (past, past))
    return path


async def take(api: Serving, content: bytes, **request: Any) -> int:
    """Submit a task that takes an upload."""
    files = {"in": {"upload": name_of(content)}}
    asked = {"engine": "command", "inputs": {"argv": ["true"]}, "files": files}
    answer = await api.post("/corral/v1/tasks", asked, **request)
    assert answer.status == 201, answer.body
    return answer.json["id"]


async def test_an_owner_can_have_as_many_bytes_as_the_quota_and_not_one_more(api: Serving) -> None:
    assert (await upload(api, b"a" * 600)).status == 201
    assert (await upload(api, b"b" * 400)).status == 201

    refused = await upload(api, b"c")

    assert (refused.status, refused.json["error"]["code"]) == (507, "upload.quota")
    assert "corral uploads rm" in refused.json["error"]["hint"]
    listed = (await api.get(UPLOADS)).json
    assert (listed["owner"], listed["bytes"], listed["quota"], len(listed["items"])) == ("local", 1000, 1000, 2)


async def test_the_same_content_again_is_counted_once(api: Serving) -> None:
    for _ in range(3):
        assert (await upload(api, b"a" * 900)).status == 201
    assert (await api.get(UPLOADS)).json["bytes"] == 900


async def test_uploads_at_the_same_time_do_not_exceed_the_quota_together_and_leave_nothing(
    api: Serving, services: Services
) -> None:
    answers = await asyncio.gather(*(upload(api, bytes([number]) * 300) for number in range(8)))

    assert sorted(answer.status for answer in answers).count(201) <= 3
    assert (await api.get(UPLOADS)).json["bytes"] <= QUOTA
    assert list((services.artifacts.root / "incoming").iterdir()) == []


async def test_an_upload_over_the_quota_is_refused_before_it_is_sent(api: Serving) -> None:
    """The answer comes although nothing of the body has been sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
    head = f"POST {UPLOADS}?name=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {QUOTA + 1}\r\n\r\n"
    writer.write(head.encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 507")
    assert b"upload.quota" in await reader.readuntil(b"}")
    writer.close()


async def test_an_upload_that_would_take_the_reserve_is_refused_with_what_to_do(services: Services) -> None:
    rules = ServerRules(disk_reserve=Bytes(2**60))
    async with serving(replace(services, in_effect=Fixed(rules))) as api:
        refused = await upload(api, b"a")

    assert (refused.status, refused.json["error"]["code"]) == (507, "artifact.disk_full")
    assert "1048576.0 TiB are kept in reserve" in refused.json["error"]["what"]
    assert "corral gc" in refused.json["error"]["hint"]


async def test_an_upload_that_no_open_task_takes_is_deleted_with_its_file(api: Serving, services: Services) -> None:
    content = b"a" * 100
    await upload(api, content)
    path = make_old(services, content)

    deleted = await api.call("DELETE", f"{UPLOADS}/{name_of(content)}")

    assert (deleted.status, deleted.json["freed"]) == (200, 100)
    assert not path.exists()
    assert (await api.call("DELETE", f"{UPLOADS}/{name_of(content)}")).status == 404
    newest = (await api.get("/corral/v1/audit?limit=1")).json["items"][0]
    assert (newest["action"], newest["subject"]) == ("upload_deleted", name_of(content))


async def test_a_file_that_has_just_come_is_left_to_the_next_collection(api: Serving, services: Services) -> None:
    """An attempt can be about to record an output of the same content."""
    await upload(api, b"new")
    deleted = await api.call("DELETE", f"{UPLOADS}/{name_of(b'new')}")
    assert (deleted.status, deleted.json["freed"]) == (200, 0)
    assert (await api.get(UPLOADS)).json["items"] == []


async def test_an_upload_that_an_open_task_takes_is_not_deleted(api: Serving, services: Services) -> None:
    content = b"a" * 100
    await upload(api, content)
    task = await take(api, content)

    refused = await api.call("DELETE", f"{UPLOADS}/{name_of(content)}")

    assert (refused.status, refused.json["error"]["code"]) == (409, "upload.in_use")
    assert str(task) in refused.json["error"]["what"]
    assert (await api.get(UPLOADS)).json["items"][0]["in_use"] is True

    await queue_life.succeed(services.pool, task)
    path = make_old(services, content)
    deleted = await api.call("DELETE", f"{UPLOADS}/{name_of(content)}")
    assert (deleted.status, path.exists()) == (200, False)
    again = await api.post(f"/corral/v1/tasks/{task}/retry")
    assert (again.status, again.json["error"]["problems"][0]["code"]) == (422, "submission.unknown_upload")


async def test_content_of_two_owners_stays_for_the_other_one(services: Services) -> None:
    _, ada = await create_token(services.pool, name="ada", role="submitter")
    _, bob = await create_token(services.pool, name="bob", role="submitter")
    _, root = await create_token(services.pool, name="root", role="admin")
    as_ada, as_bob, as_root = ({"headers": {"Authorization": f"Bearer {token}"}} for token in (ada, bob, root))
    path = f"{UPLOADS}/{name_of(b'shared')}"
    async with serving(services) as api:
        for owner in (as_ada, as_bob):
            assert (await upload(api, b"shared", **owner)).status == 201
        file = make_old(services, b"shared")
        await take(api, b"shared", headers={"Authorization": f"Bearer {root}"})

        assert (await api.call("DELETE", f"{path}?owner=ada", **as_bob)).status == 403
        assert (await api.get(f"{UPLOADS}?owner=ada", **as_bob)).status == 403
        assert (await api.call("DELETE", f"{path}?owner=ada", **as_root)).json["freed"] == 0
        assert (await api.get(UPLOADS, **as_ada)).json["bytes"] == 0
        assert (await api.call("DELETE", path, **as_bob)).status == 409
        assert file.exists()


async def test_lists_go_on_after_a_page(api: Serving) -> None:
    for number in range(5):
        await upload(api, bytes([number]))
    first = (await api.get(f"{UPLOADS}?limit=3")).json
    second = (await api.get(f"{UPLOADS}?limit=3&cursor={first['next']}")).json
    seen = [entry["sha256"] for page in (first, second) for entry in page["items"]]
    assert (seen, second["next"]) == (sorted(name_of(bytes([number])) for number in range(5)), None)


async def test_the_command_lists_and_deletes_by_the_first_digits(
    api: Serving, capsys: pytest.CaptureFixture[str]
) -> None:
    await upload(api, b"a" * 100, name="voice.wav")

    async def call(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(run_command, ["uploads", *arguments, "--url", api.url])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    digits = name_of(b"a" * 100)[:12]
    code, text = await call("list")
    assert (code, digits in text, "voice.wav" in text, "local has 100 B of 1000 B" in text) == (0, True, True, True)
    assert (await call("rm", "ffffffffffff", "--yes"))[0] != 0
    code, text = await call("rm", digits, "--yes")
    assert (code, "deleted" in text) == (0, True)
    assert (await api.get(UPLOADS)).json["items"] == []
