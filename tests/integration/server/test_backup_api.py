"""The backup that a server sends: complete as of one instant, for administrators, one at a time."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from corral.server.services import Services
from corral.tasks.backup.archive import ARTIFACTS, unpack
from corral.tasks.values import Sha256, StoredFile
from corral.units import Bytes
from doubles import queue_life
from doubles.serving import Serving, serving

SLEEP = {"engine": "sleep", "inputs": {"seconds": 0}}


@pytest.fixture(autouse=True)
def cluster_file(services: Services) -> None:
    services.cluster_file.write_text("apiVersion: corral/v1\nname: test\n")


async def save(api: Serving, folder: Path) -> Path:
    answered = await api.get("/corral/v1/backup")
    assert answered.status == 200, answered.body
    assert int(answered.headers["content-length"]) == len(answered.body)
    path = folder / "saved.tar"
    path.write_bytes(answered.body)
    return path


def store(services: Services, content: bytes, name: str = "out.txt") -> StoredFile:
    source = services.data_dir / "made"
    source.write_bytes(content)
    stored = services.artifacts.adopt(source)
    return StoredFile(name=name, sha256=stored.sha256, size=stored.size, media_type="text/plain")


async def test_a_backup_has_the_outputs_and_uploads_that_the_queue_names_and_no_others(
    api: Serving, services: Services, tmp_path: Path
) -> None:
    await api.post("/corral/v1/uploads?name=in.txt", data=b"an upload")
    store(services, b"nobody names this")
    task = (await api.post("/corral/v1/tasks", SLEEP)).json["id"]
    await queue_life.succeed(services.pool, task, store(services, b"an output"))
    await api.post("/corral/v1/tasks", SLEEP)

    manifest = unpack(await save(api, tmp_path), tmp_path / "out")

    assert (manifest.name, manifest.tasks, manifest.open_tasks, manifest.missing) == ("test", 2, 1, 0)
    files = {path.read_bytes() for path in (tmp_path / "out" / ARTIFACTS).glob("??/*")}
    assert files == {b"an upload", b"an output"}
    assert (tmp_path / "out" / "cluster.yaml").read_text() == services.cluster_file.read_text()
    assert not any((services.data_dir / "scratch").iterdir()), "nothing is left of it on the server"


async def test_a_file_that_is_gone_is_counted_and_keeps_no_backup_from_being_made(
    api: Serving, services: Services, tmp_path: Path
) -> None:
    task = (await api.post("/corral/v1/tasks", SLEEP)).json["id"]
    cut = store(services, b"was cut short", "cut.txt")
    await queue_life.succeed(
        services.pool,
        task,
        cut,
        StoredFile(
            name="gone.txt", sha256=Sha256(hashlib.sha256().hexdigest()), size=Bytes(0), media_type="text/plain"
        ),
    )
    path = services.artifacts.locate(cut.sha256)
    path.chmod(0o600)
    os.truncate(path, 3)

    manifest = unpack(await save(api, tmp_path), None)

    assert (manifest.artifacts, manifest.missing) == (0, 2)


async def test_backups_are_for_administrators(services: Services) -> None:
    async with serving(replace(services, loopback=False)) as api:
        local = {"Authorization": f"Bearer {services.local_token}"}
        made = await api.post("/corral/v1/tokens", {"name": "eve", "role": "submitter"}, headers=local)
        refused = await api.get("/corral/v1/backup", headers={"Authorization": f"Bearer {made.json['token']}"})
    assert (refused.status, refused.json["error"]["code"]) == (403, "auth.role")


async def test_backups_are_made_one_at_a_time(api: Serving, services: Services) -> None:
    big = store(services, os.urandom(64 * 1024 * 1024))
    task = (await api.post("/corral/v1/tasks", SLEEP)).json["id"]
    await queue_life.succeed(services.pool, task, big)
    async with api.session.get(f"{api.url}/corral/v1/backup") as first:
        assert first.status == 200, "it is being sent, and more of it than sockets hold"
        refused = await api.get("/corral/v1/backup")
        assert (refused.status, refused.json["error"]["code"]) == (409, "backup.runs")
        await first.read()
    assert (await api.get("/corral/v1/backup")).status == 200


async def test_what_a_backup_contains_is_its_first_file(api: Serving, tmp_path: Path) -> None:
    path = await save(api, tmp_path)
    content = path.read_bytes()
    assert content.startswith(b"backup.json\0")
    assert json.loads(content[512 : content.index(b"\0", 512)])["name"] == "test"
