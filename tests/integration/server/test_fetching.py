"""Outputs fetched into a folder: checked, kept when they are there, continued when they broke off."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from corral.client.api import Api, DamagedDownloadError
from corral.client.collecting import OutputsIncompleteError
from corral.client.fetching import fetch_batch, fetch_task
from corral.server.services import Services
from corral.tasks.values import Sha256, StoredFile
from corral.units import Bytes
from doubles import queue_life
from doubles.serving import Serving

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
IMAGE = StoredFile(name="fox.png", sha256=Sha256(SHA256), size=Bytes(len(CONTENT)), media_type="image/png")


@pytest.fixture
async def client(api: Serving) -> AsyncIterator[Api]:
    async with Api(api.url, None) as client:
        yield client


@pytest.fixture
async def batch(api: Serving) -> tuple[int, list[int]]:
    """A batch of two tasks, and their numbers."""
    await api.call("POST", "/corral/v1/uploads?name=fox.png", data=CONTENT)
    tasks = [{"name": name, "engine": "sleep", "inputs": {"seconds": 0}} for name in ("one", "two")]
    made = await api.post("/corral/v1/batches", {"name": "foxes", "tasks": tasks})
    return made.json["batch"]["id"], [task["id"] for task in made.json["tasks"]]


async def test_the_outputs_of_a_batch_are_in_a_folder_of_its_name(
    client: Api, services: Services, batch: tuple[int, list[int]], tmp_path: Path
) -> None:
    number, (first, _) = batch
    await queue_life.succeed(services.pool, first, IMAGE)

    fetched = await fetch_batch(client, number, tmp_path, wait=False)

    assert (fetched.folder, fetched.files, fetched.unfinished) == (tmp_path / "foxes", 1, 1)
    assert (tmp_path / "foxes" / "one.png").read_bytes() == CONTENT
    manifest = json.loads((tmp_path / "foxes" / "manifest.json").read_text())
    assert (manifest["batch"], manifest["tasks"][0]["outputs"][0]["sha256"]) == (number, SHA256)


async def test_what_is_there_is_kept_and_the_rest_is_fetched_later(
    client: Api, services: Services, batch: tuple[int, list[int]], tmp_path: Path
) -> None:
    number, (first, second) = batch
    await queue_life.succeed(services.pool, first, IMAGE)
    await fetch_batch(client, number, tmp_path, wait=False)
    before = (tmp_path / "foxes" / "one.png").stat().st_ino
    await queue_life.succeed(services.pool, second, IMAGE)

    fetched = await fetch_batch(client, number, tmp_path, wait=False)

    assert (fetched.files, fetched.unfinished) == (2, 0)
    assert (tmp_path / "foxes" / "one.png").stat().st_ino == before
    assert (tmp_path / "foxes" / "two.png").read_bytes() == CONTENT


async def test_another_batch_of_the_same_name_gets_a_folder_of_its_own(
    api: Serving, client: Api, services: Services, batch: tuple[int, list[int]], tmp_path: Path
) -> None:
    number, (first, _) = batch
    await queue_life.succeed(services.pool, first, IMAGE)
    await fetch_batch(client, number, tmp_path, wait=False)
    before = {path: path.read_bytes() for path in (tmp_path / "foxes").iterdir()}
    (tmp_path / "foxes" / "one.png").write_bytes(b"painted over")
    before[tmp_path / "foxes" / "one.png"] = b"painted over"
    task = {"name": "one", "engine": "sleep", "inputs": {"seconds": 0}}
    other = (await api.post("/corral/v1/batches", {"name": "foxes", "tasks": [task]})).json
    await queue_life.succeed(services.pool, other["tasks"][0]["id"], IMAGE)

    fetched = [await fetch_batch(client, other["batch"]["id"], tmp_path, wait=False) for _ in range(2)]

    assert {outputs.folder for outputs in fetched} == {tmp_path / f"foxes-{other['batch']['id']}"}
    assert (fetched[0].folder / "one.png").read_bytes() == CONTENT
    assert {path: path.read_bytes() for path in (tmp_path / "foxes").iterdir()} == before


async def test_files_that_are_not_of_the_batch_are_left_as_they_are(
    client: Api, services: Services, batch: tuple[int, list[int]], tmp_path: Path
) -> None:
    number, (first, second) = batch
    for task in (first, second):
        await queue_life.succeed(services.pool, task, IMAGE)
    folder = tmp_path / "foxes"
    folder.mkdir()
    (folder / "one.png").write_bytes(b"mine")
    (folder / "two.png").write_bytes(CONTENT)  # as a fetch leaves it that was killed before it wrote the manifest

    for _ in range(2):
        await fetch_batch(client, number, tmp_path, wait=False)

    files = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    assert files == {"one.png": b"mine", f"one-{first}.png": CONTENT, "two.png": CONTENT}


async def test_outputs_appear_as_tasks_end_while_it_waits(
    client: Api, services: Services, batch: tuple[int, list[int]], tmp_path: Path
) -> None:
    number, tasks = batch
    fetching = asyncio.create_task(fetch_batch(client, number, tmp_path, wait=True))
    for task in tasks:
        await queue_life.succeed(services.pool, task, IMAGE)

    assert (await fetching).files == 2
    assert sorted(path.name for path in (tmp_path / "foxes").iterdir()) == ["manifest.json", "one.png", "two.png"]


async def test_a_download_that_broke_off_goes_on_where_it_was(
    client: Api, services: Services, batch: tuple[int, list[int]], tmp_path: Path
) -> None:
    _, (task, _) = batch
    await queue_life.succeed(services.pool, task, IMAGE)
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:1_000_000])
    before = part.stat().st_ino
    path = f"/corral/v1/tasks/{task}/outputs/fox.png"

    await client.download(path, part, sha256=SHA256)

    assert (part.read_bytes(), part.stat().st_ino) == (CONTENT, before)
    part.write_bytes(b"x" + CONTENT[1:1_000_000])
    with pytest.raises(DamagedDownloadError):
        await client.download(path, part, sha256=SHA256)
    assert part.read_bytes()[:1] == b"x", "the start was not sent again"


@pytest.mark.parametrize("start", [b"x" * 1000, b"x" * len(CONTENT)], ids=["shorter", "whole"])
async def test_a_damaged_start_is_noticed_and_the_next_fetch_begins_anew(
    client: Api, services: Services, batch: tuple[int, list[int]], tmp_path: Path, start: bytes
) -> None:
    _, (task, _) = batch
    await queue_life.succeed(services.pool, task, IMAGE)
    folder = tmp_path / f"task-{task}"
    folder.mkdir()
    (folder / f".{SHA256}.part").write_bytes(start)

    if len(start) < len(CONTENT):
        with pytest.raises(OutputsIncompleteError, match="instead of"):
            await fetch_task(client, task, tmp_path)
    fetched = await fetch_task(client, task, tmp_path)

    assert (fetched.folder, fetched.files) == (folder, 1)
    assert (folder / "one.png").read_bytes() == CONTENT
    assert not list(folder.glob(".*"))
