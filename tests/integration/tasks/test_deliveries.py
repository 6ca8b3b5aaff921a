"""Outputs get to their folders whatever the share does meanwhile, and what keeps them from it is shown."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import a_submission, a_task
from corral.cluster.destinations import Destination
from corral.cluster.keeping import OutputFolder, Retention
from corral.tasks.alarms import Alarms
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.deliveries.delivering import ALARM, Deliverer, Waits
from corral.tasks.retention import collect
from corral.tasks.store.pool import Pool
from corral.tasks.store.reading import get_batch, get_task
from corral.tasks.store.retrying import prepare_task_retry
from corral.tasks.store.submitting import submit
from corral.tasks.values import Deliveries, StoredFile
from doubles import queue_life

QUICK = Waits(poll_s=0.02, first_s=0.02, longest_s=0.05)


class Place:
    """A share, and the server that writes to it."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self.pool = pool
        self.share = folder / "nas"
        self.share.mkdir()
        self.folders: Sequence[OutputFolder] = [OutputFolder(path=str(self.share))]
        self.alarms = Alarms()
        self.artifacts = ArtifactStore(folder / "artifacts")
        self.artifacts.prepare()
        self.scratch = folder
        self.deliverer = Deliverer(pool, self.artifacts, lambda: self.folders, self.alarms, waits=QUICK)

    @property
    def destination(self) -> Destination:
        return Destination(root=str(self.share), pattern="{batch}/{task}")

    async def submit(self, *names: str, **changes: Any) -> tuple[int, tuple[int, ...]]:
        tasks = [a_task(name, destination=self.destination, **changes) for name in names]
        accepted = await submit(self.pool, a_submission(*tasks), queued_limits={})
        return accepted.batch or 0, accepted.tasks

    async def succeed(self, task: int, **outputs: str) -> None:
        """Let a task succeed with these files, of which the artifact store has the content."""
        files: list[StoredFile] = []
        for name, text in outputs.items():
            path = self.scratch / name
            path.write_text(text)
            content = self.artifacts.adopt(path)
            files.append(StoredFile(name=name, sha256=content.sha256, size=content.size, media_type="text/plain"))
        await queue_life.succeed(self.pool, task, *files)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.deliverer.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until(self, holds: Callable[[Deliveries | None], bool], batch: int) -> Deliveries:
        async with asyncio.timeout(20):
            while not holds(seen := (await get_batch(self.pool, batch)).deliveries):  # noqa: ASYNC110 (the database)
                await asyncio.sleep(0.02)
        assert seen is not None
        return seen

    def list_files(self) -> dict[str, str]:
        """Read what is there, but for the file that is written and removed to see whether the share takes any."""
        files = (path for path in self.share.rglob("*") if path.is_file() and path.name != ".corral-probe")
        return {str(path.relative_to(self.share)): path.read_text() for path in files}


@pytest.fixture
def place(pool: Pool, tmp_path: Path) -> Place:
    return Place(pool, tmp_path)


def is_done(deliveries: Deliveries | None) -> bool:
    return deliveries is not None and not deliveries.waiting


async def test_outputs_are_written_as_tasks_succeed_and_those_of_others_nowhere(place: Place) -> None:
    batch, (fox, owl, bat) = await place.submit("fox", "owl", "bat")
    async with place.running():
        await place.succeed(fox, **{"a.png": "A", "b.txt": "B"})
        await queue_life.fail(place.pool, owl)
        seen = await place.until(lambda seen: seen is not None and seen.written == 1, batch)
    assert (seen.waiting, seen.problem) == (0, None)
    assert place.list_files() == {f"{batch}/fox/a.png": "A", f"{batch}/fox/b.txt": "B"}
    assert (await get_task(place.pool, bat)).state == "queued"


async def test_a_task_without_files_has_its_values_written(place: Place) -> None:
    batch, (nap,) = await place.submit("nap")
    await place.succeed(nap)
    async with place.running():
        await place.until(is_done, batch)
    assert place.list_files() == {f"{batch}/nap/values.json": '{\n  "slept_s": 0\n}\n'}


async def test_a_share_that_is_away_is_waited_for_and_shown_until_it_is_back(place: Place) -> None:
    batch, (fox,) = await place.submit("fox")
    place.share.rename(place.scratch / "elsewhere")
    await place.succeed(fox, **{"a.png": "A"})
    async with place.running():
        async with asyncio.timeout(20):
            while place.deliverer.find_problem(str(place.share)) is None:  # noqa: ASYNC110 (another task's work)
                await asyncio.sleep(0.01)
        problem = place.deliverer.find_problem(str(place.share))
        assert problem is not None
        assert (problem.code, problem.where) == ("outputs.away", str(place.share))
        await asyncio.sleep(0.1)
        (alarm,) = place.alarms.raised
        assert alarm.name == ALARM
        assert alarm.what.startswith(f"outputs wait for {place.share}: the folder cannot be opened")
        assert not place.share.exists()
        (place.scratch / "elsewhere").rename(place.share)
        await place.until(is_done, batch)
        async with asyncio.timeout(20):
            while place.alarms.raised:  # noqa: ASYNC110 (another task's work)
                await asyncio.sleep(0.01)
    assert place.list_files() == {f"{batch}/fox/a.png": "A"}


async def test_one_task_in_trouble_keeps_no_other_back_and_says_why(place: Place) -> None:
    batch, (fox, owl) = await place.submit("fox", "owl")
    (place.share / str(batch) / "fox").mkdir(parents=True)
    (place.share / str(batch) / "fox" / "a.png").write_text("somebody's own")
    async with place.running():
        await place.succeed(fox, **{"a.png": "A"})
        await place.succeed(owl, **{"a.png": "A2"})
        seen = await place.until(
            lambda seen: seen is not None and seen.written == 1 and seen.problem is not None, batch
        )
        assert seen.problem is not None
        assert (seen.problem.code, seen.waiting) == ("outputs.in_the_way", 1)
        (place.share / str(batch) / "fox" / "a.png").rename(place.share / "kept.png")
        await place.until(is_done, batch)
    assert place.list_files() == {
        "kept.png": "somebody's own",
        f"{batch}/fox/a.png": "A",
        f"{batch}/owl/a.png": "A2",
    }


async def test_a_share_that_is_back_is_not_away_though_a_task_is_in_trouble_there(place: Place) -> None:
    batch, (fox,) = await place.submit("fox")
    await place.succeed(fox, **{"a.png": "A"})
    place.share.rename(place.scratch / "elsewhere")
    async with place.running():
        async with asyncio.timeout(20):
            while place.deliverer.find_problem(str(place.share)) is None:  # noqa: ASYNC110 (another task's work)
                await asyncio.sleep(0.01)
        in_the_way = place.scratch / "elsewhere" / str(batch) / "fox" / "a.png"
        in_the_way.parent.mkdir(parents=True)
        in_the_way.write_text("another")
        (place.scratch / "elsewhere").rename(place.share)
        await place.until(lambda seen: seen is not None and seen.problem is not None, batch)
        assert place.deliverer.find_problem(str(place.share)) is None
        await until_raised(place, "another 'a.png'")


async def test_the_first_output_that_is_written_again_ends_the_alarm_while_others_are_under_way(place: Place) -> None:
    place.deliverer = Deliverer(
        place.pool, HangingStore(place.artifacts.root), lambda: place.folders, place.alarms, waits=QUICK
    )
    batch, (fox, owl) = await place.submit("fox", "owl")
    await place.succeed(fox, **{"a.png": "A"})
    await place.succeed(owl, **{"b.png": HANGS})
    place.share.rename(place.scratch / "elsewhere")
    async with place.running():
        await until_raised(place, "cannot be opened")
        (place.scratch / "elsewhere").rename(place.share)
        await place.until(lambda seen: seen is not None and seen.written == 1, batch)
        async with asyncio.timeout(20):
            while place.alarms.raised:  # noqa: ASYNC110 (another task's work)
                await asyncio.sleep(0.01)
    assert place.list_files() == {f"{batch}/fox/a.png": "A"}


async def test_a_task_that_is_deleted_is_in_no_alarm_any_more(place: Place) -> None:
    batch, tasks = await place.submit("fox", "owl")
    for name, task in zip(("fox", "owl"), tasks, strict=True):
        (place.share / str(batch) / name / "a.png").mkdir(parents=True)
        await place.succeed(task, **{"a.png": name})
    async with place.running():
        await until_raised(place, "and 1 more like it")
        await place.pool.execute("delete from tasks where id = $1", tasks[0])
        async with asyncio.timeout(20):
            while "more like it" in place.alarms.raised[0].what:  # noqa: ASYNC110 (another task's work)
                await asyncio.sleep(0.01)


async def until_raised(place: Place, words: str) -> None:
    """Wait until the alarm has these words."""
    async with asyncio.timeout(20):
        while not any(words in alarm.what for alarm in place.alarms.raised):  # noqa: ASYNC110 (another task's work)
            await asyncio.sleep(0.01)


async def test_a_folder_that_is_not_allowed_any_more_gets_nothing_until_it_is_again(place: Place) -> None:
    batch, (fox,) = await place.submit("fox")
    await place.succeed(fox, **{"a.png": "A"})
    allowed, place.folders = place.folders, []
    async with place.running():
        async with asyncio.timeout(20):
            while (problem := place.deliverer.find_problem(str(place.share))) is None:  # noqa: ASYNC110 (as above)
                await asyncio.sleep(0.01)
        assert "does not allow it any more" in problem.what
        assert place.list_files() == {}
        place.folders = allowed
        await place.until(is_done, batch)


async def test_outputs_are_not_collected_before_they_are_written(place: Place) -> None:
    batch, (fox,) = await place.submit("fox")
    await place.succeed(fox, **{"a.png": "A"})
    late = datetime.now(UTC) + timedelta(days=400)
    retention = Retention(tasks=timedelta(days=1), artifacts=timedelta(days=1))
    assert (await collect(place.pool, place.artifacts, retention, now=late)).tasks == 0
    async with place.running():
        await place.until(is_done, batch)
    assert (await collect(place.pool, place.artifacts, retention, now=late)).tasks == 1
    assert place.list_files() == {f"{batch}/fox/a.png": "A"}


async def test_a_task_that_is_tried_again_alone_has_the_folder_of_its_batch(place: Place) -> None:
    batch, (fox,) = await place.submit("fox")
    await queue_life.fail(place.pool, fox)
    retry = await submit(place.pool, await prepare_task_retry(place.pool, fox), queued_limits={})
    async with place.running():
        await place.succeed(retry.tasks[0], **{"a.png": "A"})
        await place.until(lambda seen: seen is not None and seen.written == 1, batch)
    assert place.list_files() == {f"{batch}/fox/a.png": "A"}


async def test_an_artifact_that_is_gone_is_a_problem_of_its_task_alone(place: Place) -> None:
    batch, (fox, owl) = await place.submit("fox", "owl")
    await place.succeed(fox, **{"a.png": "A"})
    (path,) = place.artifacts.root.glob("??/*")
    path.unlink()
    async with place.running():
        await place.succeed(owl, **{"b.png": "B"})
        seen = await place.until(
            lambda seen: seen is not None and seen.problem is not None and seen.written == 1, batch
        )
        async with asyncio.timeout(30):
            while not place.alarms.raised:  # noqa: ASYNC110 (the problem is stored before the alarm is rung)
                await asyncio.sleep(0.01)
    assert seen.problem is not None
    where = f"{place.share}/{batch}/fox"
    assert (seen.problem.code, seen.problem.where) == ("artifact.missing", where)
    assert [alarm.what.partition(": ")[0] for alarm in place.alarms.raised] == [f"outputs wait for {where}"]
    assert place.list_files() == {f"{batch}/owl/b.png": "B"}


async def test_a_share_that_does_not_answer_is_shown_and_holds_no_other_folder_and_no_stop(
    place: Place, tmp_path: Path
) -> None:
    """The thread of a share that hangs waits in `open`, as here that of a pipe without a writer."""
    hung = tmp_path / "hung"
    hung.mkdir()
    place.folders = [*place.folders, OutputFolder(path=str(hung))]
    place.deliverer = Deliverer(
        place.pool, HangingStore(place.artifacts.root), lambda: place.folders, place.alarms,
        waits=Waits(poll_s=0.02, first_s=0.02, longest_s=0.05, silent_s=0.1),
    )  # fmt: skip
    tasks = [
        a_task("fox", destination=Destination(root=str(hung), pattern="{batch}/{task}")),
        a_task("owl", destination=place.destination),
    ]
    accepted = await submit(place.pool, a_submission(*tasks), queued_limits={})
    await place.succeed(accepted.tasks[0], **{"a.png": HANGS})
    await place.succeed(accepted.tasks[1], **{"b.png": "B"})
    async with place.running():
        await place.until(lambda seen: seen is not None and seen.written == 1, accepted.batch or 0)
        async with asyncio.timeout(20):
            while (problem := place.deliverer.find_problem(str(hung))) is None:  # noqa: ASYNC110 (as above)
                await asyncio.sleep(0.01)
    assert "has not answered for" in problem.what
    assert place.list_files() == {f"{accepted.batch}/owl/b.png": "B"}


HANGS = "content whose file hangs"


class HangingStore(ArtifactStore):
    """A store in which one file is a pipe that nothing writes to: whoever opens it hangs, as on a dead share."""

    def check(self, sha256: Any) -> Path:
        path = super().check(sha256)
        if path.read_text() == HANGS:
            pipe = self.root / "pipe"
            if not pipe.exists():
                os.mkfifo(pipe)
            return pipe
        return path
