"""Outputs of a batch are in its folder once, whole, however often the server is killed and the share goes away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.client import PatientClient, RefusedError
from chaos.kept import Kept, corral_up, keeping

CLUSTER = """\
apiVersion: corral/v1
name: writer
nodes: [{{name: here, gpus: [], cpu: {{slots: 2}}}}]
engines:
  command: {{enabled: true}}
  llama: {{enabled: false}}
  whisper: {{enabled: false}}
  piper: {{enabled: false}}
outputFolders: [{{path: {share}}}]
"""
TASKS, KILLS = 12, 6
SIZE = 4 * 1024 * 1024


@pytest.fixture
def share(short_folder: Path) -> Path:
    share = short_folder / "nas"
    share.mkdir()
    (short_folder / "cluster.yaml").write_text(CLUSTER.format(share=share))
    return share


@pytest.fixture
async def server(short_folder: Path, share: Path, database_url: str) -> AsyncIterator[Kept]:
    """A server on the tests' PostgreSQL, started again at once when it is killed."""
    env = {"CORRAL_DATABASE_URL": database_url}
    cluster = short_folder / "cluster.yaml"
    server = corral_up(short_folder / "data", cluster, short_folder / "server.log", env=env)
    async with keeping(server):
        yield server
        await server.stop()


@pytest.fixture
async def client(short_folder: Path, server: Kept) -> AsyncIterator[PatientClient]:
    async with PatientClient(short_folder / "data") as client:
        await client.leading()
        yield client


def make_batch(share: Path) -> dict[str, object]:
    script = "head -c $1 /dev/zero | tr '\\0' \"$2\" > picture.bin; echo $2 > name.txt"
    tasks = [
        {
            "name": f"t{n}",
            "inputs": {"argv": ["sh", "-c", script, "-", str(SIZE), chr(97 + n)], "outputs": ["*.bin", "*.txt"]},
        }
        for n in range(TASKS)
    ]
    return {
        "name": "pictures",
        "outputs": f"{share}/{{batch}}/{{task}}",
        "defaults": {"engine": "command"},
        "tasks": tasks,
    }


class Watch:
    """Notes every file that has a name in the share: which inode it is, and that it is whole."""

    def __init__(self, share: Path) -> None:
        self.share = share
        self.inodes: dict[str, set[int]] = {}

    def look(self) -> None:
        for path in self.share.rglob("*.bin"):
            status = path.stat()
            assert status.st_size == SIZE, f"{path} has a part of its content"
            self.inodes.setdefault(str(path.relative_to(self.share)), set()).add(status.st_ino)


async def test_every_output_is_written_once_while_the_server_is_killed_and_the_share_is_away(
    client: PatientClient, server: Kept, share: Path
) -> None:
    chance = random.Random(7)
    watch = Watch(share)
    batch = (await client.post("/corral/v1/batches", make_batch(share), key="one"))["batch"]["id"]
    shown = (await client.get(f"/corral/v1/batches/{batch}"))["deliveries"]
    away = share.with_name("away")
    async with asyncio.timeout(180):
        kills = 0
        while shown["written"] < TASKS or kills < KILLS:
            if kills < KILLS:
                await asyncio.sleep(chance.uniform(0.1, 0.8))
                watch.look()
                kills += server.kill()
                if kills == KILLS // 2:
                    share.rename(away)
                    await client.leading()
                    await asyncio.sleep(2)
                    assert not share.exists()
                    away.rename(share)
            await client.leading()
            shown = (await client.get(f"/corral/v1/batches/{batch}"))["deliveries"]
            watch.look()
    folder = share / str(batch)
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"t{n}" for n in range(TASKS))
    for number in range(TASKS):
        letter = chr(97 + number)
        assert (folder / f"t{number}" / "picture.bin").read_bytes() == letter.encode() * SIZE
        assert (folder / f"t{number}" / "name.txt").read_text() == f"{letter}\n"
    assert list(share.rglob(".corral-*")) == []
    assert {len(inodes) for inodes in watch.inodes.values()} == {1}
    assert shown == {"written": TASKS, "waiting": 0, "problem": None}
    assert server.unexpected == []


async def test_a_batch_that_asks_for_another_folder_is_refused_with_what_is_allowed(
    client: PatientClient, share: Path
) -> None:
    asked = {**make_batch(share), "outputs": "/etc/{batch}/{tsk}"}
    with pytest.raises(RefusedError) as caught:
        await client.post("/corral/v1/batches", asked)
    text = str(caught.value)
    assert "there is no placeholder {tsk}; there are {batch} and {task}" in text
    assert f"below no folder that the cluster file allows (`outputFolders`: {share})" in text
    escape = make_batch(share)
    escape["tasks"] = [{"name": "..", "inputs": {"argv": ["true"]}}]
    with pytest.raises(RefusedError, match=r"its outputs are written to a folder of its name, and '\.\.' cannot be"):
        await client.post("/corral/v1/batches", escape)
