"""Only what is past its time goes, and nothing that somebody still needs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from builders import a_submission, a_task
from corral.cluster.keeping import Retention
from corral.tasks.artifacts import SWEEP_GRACE_S, ArtifactStore
from corral.tasks.retention import Collected, collect
from corral.tasks.store.pool import Pool
from corral.tasks.store.submitting import submit
from corral.tasks.store.uploads import record_upload
from corral.tasks.values import StoredFile, UploadRef
from corral.units import Bytes
from doubles import queue_life

DAY = Retention(tasks=timedelta(days=1), artifacts=timedelta(days=1))
LATER = timedelta(days=2)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    store = ArtifactStore(tmp_path / "artifacts")
    store.prepare()
    return store


async def stored(artifacts: ArtifactStore, content: bytes, name: str = "text.txt", *, aged: bool = True) -> StoredFile:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    made = await artifacts.receive(chunks(), limit=Bytes(1000))
    if aged:
        old = time.time() - 2 * SWEEP_GRACE_S
        os.utime(artifacts.locate(made.sha256), (old, old))
    return StoredFile(name=name, sha256=made.sha256, size=made.size, media_type="text/plain")


async def submitted(pool: Pool, *names: str, **changes: object) -> list[int]:
    tasks = [a_task(name, **changes) for name in names]
    return list((await submit(pool, a_submission(*tasks), queued_limits={})).tasks)


async def left(pool: Pool) -> list[int]:
    return [row["id"] for row in await pool.fetch("select id from tasks order by id")]


async def test_old_task_goes_with_its_story_its_batch_and_its_files(pool: Pool, artifacts: ArtifactStore) -> None:
    (id,) = await submitted(pool, "a")
    await queue_life.succeed(pool, id, await stored(artifacts, b"output"))
    now = datetime.now(UTC) + LATER
    foreseen = await collect(pool, artifacts, DAY, now=now, dry_run=True)
    assert foreseen == Collected(tasks=1, batches=1, outputs=1, files=1, bytes=6)
    assert await left(pool) == [id], "a dry run changes nothing"
    assert await collect(pool, artifacts, DAY, now=now) == foreseen
    for table in ("tasks", "batches", "outputs", "events", "needs"):
        assert await pool.fetchval(f"select count(*) from {table}") == 0, table
    assert await collect(pool, artifacts, DAY, now=now) == Collected()


async def test_what_is_not_past_its_time_or_has_not_ended_stays(pool: Pool, artifacts: ArtifactStore) -> None:
    done, _ = await submitted(pool, "done", "open")
    await queue_life.succeed(pool, done)
    alone = (await submit(pool, a_submission(a_task("x"), batch=None), queued_limits={})).tasks[0]
    await queue_life.succeed(pool, alone)
    assert await collect(pool, artifacts, DAY) == Collected()
    assert (await collect(pool, artifacts, DAY, now=datetime.now(UTC) + LATER)).tasks == 1
    assert alone not in await left(pool)
    assert done in await left(pool), "a batch is collected as a whole"


async def test_task_that_an_open_task_needs_stays_with_its_outputs(pool: Pool, artifacts: ArtifactStore) -> None:
    (needed,) = await submitted(pool, "a")
    await queue_life.succeed(pool, needed, await stored(artifacts, b"output"))
    alone = (await submit(pool, a_submission(a_task("c"), batch=None), queued_limits={})).tasks[0]
    await queue_life.succeed(pool, alone)
    await submitted(pool, "b", needs=(needed, alone))
    now = datetime.now(UTC) + LATER
    assert await collect(pool, artifacts, DAY, now=now) == Collected()
    only_files = Retention(tasks=None, artifacts=timedelta(0))
    assert await collect(pool, artifacts, only_files, now=now) == Collected()


async def test_outputs_may_go_before_their_task(pool: Pool, artifacts: ArtifactStore) -> None:
    (id,) = await submitted(pool, "a")
    await queue_life.succeed(pool, id, await stored(artifacts, b"output"))
    only_files = Retention(tasks=None, artifacts=timedelta(days=1))
    collected = await collect(pool, artifacts, only_files, now=datetime.now(UTC) + LATER)
    assert collected == Collected(outputs=1, files=1, bytes=6)
    assert await left(pool) == [id]


async def test_upload_stays_while_a_task_names_it(pool: Pool, artifacts: ArtifactStore) -> None:
    used, unused = await stored(artifacts, b"used"), await stored(artifacts, b"unused")
    for file in (used, unused):
        await record_upload(pool, "ada", file, quota=Bytes(2**40))
    await submitted(pool, "a", files={"in": UploadRef(used.sha256)})
    collected = await collect(pool, artifacts, DAY, now=datetime.now(UTC) + LATER)
    assert collected == Collected(uploads=1, files=1, bytes=6)
    assert artifacts.locate(used.sha256).is_file()


async def test_kept_for_ever_is_for_ever(pool: Pool, artifacts: ArtifactStore) -> None:
    (id,) = await submitted(pool, "a")
    await queue_life.succeed(pool, id, await stored(artifacts, b"output"))
    for_ever = Retention(tasks=None, artifacts=None)
    assert await collect(pool, artifacts, for_ever, now=datetime(9000, 1, 1, tzinfo=UTC)) == Collected()


async def test_file_that_nothing_names_goes_after_its_grace(pool: Pool, artifacts: ArtifactStore) -> None:
    await stored(artifacts, b"left by a crash")
    fresh = await stored(artifacts, b"about to be recorded", aged=False)
    assert (await collect(pool, artifacts, DAY)).files == 1
    assert artifacts.locate(fresh.sha256).is_file()


async def test_collection_that_is_cut_off_keeps_what_it_has_deleted_and_the_next_one_goes_on(
    pool: Pool, artifacts: ArtifactStore
) -> None:
    await submitted(pool, *(f"{number}" for number in range(2000)))  # a step holds no more
    small = await submitted(pool, "last")
    await pool.execute("update tasks set state = 'succeeded', started_at = now(), finished_at = now()")
    now = datetime.now(UTC) + LATER
    async with pool.acquire() as other, other.transaction():
        await other.fetch("select from tasks where id = $1 for update", small[0])
        collecting = asyncio.create_task(collect(pool, artifacts, DAY, now=now))
        async with asyncio.timeout(30):
            while await pool.fetchval("select count(*) from tasks") > 1:  # noqa: ASYNC110 (PostgreSQL tells nobody)
                await asyncio.sleep(0.01)
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
    assert await left(pool) == small
    assert (await collect(pool, artifacts, DAY, now=now)).tasks == 1
