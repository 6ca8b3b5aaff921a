"""Watching a batch over a real connection: what a run sees, writes and survives."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from corral.batchfile.reading import Read, read_batch
from corral.cli.running.view import PlainView, describe_slot, format_overall
from corral.cli.running.watching import Choice, Interrupts, Watch
from corral.client.api import Api
from corral.client.collecting import Collector, OutputsIncompleteError
from corral.client.following import Follower
from corral.client.output_folder import Heading
from corral.client.progress import BatchProgress, TaskView
from corral.client.submitting import Generations, submit_or_continue
from doubles.api import ApiDouble, api_double

BATCH = """
apiVersion: corral/v1
kind: Batch
name: words
defaults: {engine: llama, model: m}
tasks:
- {name: one, inputs: {prompt: p}}
- {name: two, inputs: {prompt: p}}
- {name: three, inputs: {prompt: p}}
"""


def the_batch() -> Read:
    return read_batch(BATCH, filename="b.yaml", folder=Path("/folder"))


class Watched:
    """A run of the batch that a test steers: the double is its server, `answers` are what the person says."""

    def __init__(self, api: Api, double: ApiDouble, folder: Path) -> None:
        self.double = double
        self.batch_progress = BatchProgress()
        self.lines: list[str] = []
        self.interrupts = Interrupts()
        self.answers: asyncio.Queue[Choice] = asyncio.Queue()
        self.view = PlainView(self.lines.append)
        self.collector = Collector(
            api=api,
            folder=folder,
            heading=Heading(name="words", batch=1, digest="d"),
            batch_progress=self.batch_progress,
        )
        self.collector.open()
        self.watch = Watch(
            follower=Follower(api, 1, self.batch_progress, self._ended),
            collector=self.collector,
            batch_progress=self.batch_progress,
            view=self.view,
            interrupts=self.interrupts,
            ask=self.answers.get,
            cancel_batch=self._cancel,
        )
        self._api = api

    def _ended(self, task: TaskView) -> None:
        self.view.show_end(task)
        self.collector.add(task)

    async def _cancel(self) -> None:
        await self._api.post("/corral/v1/batches/1/cancel")


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Watched]:
    """Submit the batch to a double and prepare a run of it."""
    async with api_double() as double, Api(double.url, None) as api:
        await submit_or_continue(api, the_batch(), {}, Generations(None))
        yield Watched(api, double, folder)


async def finish_all(double: ApiDouble) -> None:
    for id in list(double.tasks):
        double.finish(id, {"text.txt": f"text {id}".encode()})


async def run_while(run: Watched, act: Callable[[], Awaitable[None]]) -> Choice | None:
    """Watch while the test acts; the act begins once the event stream is open."""
    async with asyncio.timeout(20):
        watching = asyncio.create_task(run.watch.run())
        await run.double.streaming.wait()
        await act()
        return await watching


async def test_outputs_are_written_under_readable_names_with_a_manifest(tmp_path: Path) -> None:
    async with watched(tmp_path / "out") as run:
        assert await run_while(run, lambda: finish_all(run.double)) is None

    assert {path.name: path.read_text() for path in (tmp_path / "out").glob("*.txt")} == {
        "one.txt": "text 1",
        "two.txt": "text 2",
        "three.txt": "text 3",
    }
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["states"] == {"succeeded": 3}
    assert [task["outputs"][0]["file"] for task in manifest["tasks"]] == ["one.txt", "two.txt", "three.txt"]
    assert manifest["tasks"][0]["outputs"][0]["sha256"] == hashlib.sha256(b"text 1").hexdigest()
    assert manifest["tasks"][0]["ran_s"] == 10
    assert not list((tmp_path / "out").glob(".*"))


async def test_what_ended_before_the_watching_began_is_written_too(tmp_path: Path) -> None:
    async with watched(tmp_path) as run:
        await finish_all(run.double)

        async with asyncio.timeout(20):
            assert await run.watch.run() is None

    assert len(list(tmp_path.glob("*.txt"))) == 3


async def test_a_task_that_made_no_file_leaves_its_text(tmp_path: Path) -> None:
    async def act() -> None:
        run.double.finish(1, result={"text": "hello", "tokens": 2})
        run.double.finish(2, result={"slept_s": 1})
        run.double.finish(3, {"a.png": b"x", "b.png": b"y"})

    async with watched(tmp_path) as run:
        await run_while(run, act)

    assert (tmp_path / "one.txt").read_text() == "hello\n"
    assert json.loads((tmp_path / "two.json").read_text()) == {"slept_s": 1}
    assert (tmp_path / "three.b.png").read_text() == "y"


async def test_a_broken_event_stream_loses_nothing(tmp_path: Path) -> None:
    async def act() -> None:
        run.double.finish(1, {"text.txt": b"1"})
        run.double.break_streams()
        run.double.finish(2, {"text.txt": b"2"})
        run.double.finish(3, {"text.txt": b"3"})

    async with watched(tmp_path) as run:
        assert await run_while(run, act) is None

    assert len(list(tmp_path.glob("*.txt"))) == 3


async def test_without_event_streams_the_batch_is_read_again_and_again(tmp_path: Path) -> None:
    async with watched(tmp_path) as run, asyncio.timeout(20):
        run.double.streams_refused = True
        watching = asyncio.create_task(run.watch.run())
        await run.double.reads.wait()
        await finish_all(run.double)

        assert await watching is None

    assert len(list(tmp_path.glob("*.txt"))) == 3


async def test_a_server_that_is_away_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    async def act() -> None:
        run.double.failing = 6
        await finish_all(run.double)

    async with watched(tmp_path) as run:
        result = asyncio.create_task(run_while(run, act))
        assert await result is None


async def test_a_damaged_download_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    async with watched(tmp_path) as run:
        run.double.damaged.add("bad.txt")

        async def act() -> None:
            run.double.finish(1, {"bad.txt": b"1"})
            run.double.finish(2, {"text.txt": b"2"})
            run.double.finish(3)

        with pytest.raises(OutputsIncompleteError) as caught:
            await run_while(run, act)

    assert [problem.code for problem in caught.value.problems] == ["client.damaged_download"]
    assert "one, bad.txt" in caught.value.what
    assert {path.name for path in tmp_path.iterdir()} == {"two.txt", "manifest.json"}


async def test_an_output_that_is_there_is_not_fetched_again_and_one_that_changed_is_replaced_at_once(
    tmp_path: Path,
) -> None:
    first, second = ({"name": "text.txt", "file": file} for file in ("one.txt", "two.txt"))
    tasks = [{"id": 1, "outputs": [first]}, {"id": 2, "outputs": [second]}]
    (tmp_path / "manifest.json").write_text(json.dumps({"batch": 1, "tasks": tasks}))
    (tmp_path / "one.txt").write_text("text 1")
    (tmp_path / "two.txt").write_text("text ?")
    (tmp_path / "held").hardlink_to(tmp_path / "two.txt")  # stands for a reader that opened the old file
    async with watched(tmp_path) as run:
        await run_while(run, lambda: finish_all(run.double))

        assert len(run.double.downloads) == 2
    assert (tmp_path / "two.txt").read_text() == "text 2"
    assert (tmp_path / "held").read_text() == "text ?"


async def test_failures_are_told_with_their_reason(tmp_path: Path) -> None:
    async def act() -> None:
        run.double.fail(1, "the model is not here")
        run.double.finish(2)
        run.double.finish(3)

    async with watched(tmp_path) as run:
        await run_while(run, act)

    assert run.lines[0] == "one (llama) failed in 10.0s: the model is not here"


async def test_leaving_ends_the_watching_and_touches_no_task(tmp_path: Path) -> None:
    async def act() -> None:
        run.answers.put_nowait(Choice.LEAVE)
        run.interrupts.note_press()

    async with watched(tmp_path) as run:
        assert await run_while(run, act) is Choice.LEAVE
        assert {task["state"] for task in run.double.tasks.values()} == {"queued"}


async def test_after_continuing_the_batch_is_watched_to_its_end(tmp_path: Path) -> None:
    async def act() -> None:
        run.answers.put_nowait(Choice.CONTINUE)
        run.interrupts.note_press()
        await finish_all(run.double)

    async with watched(tmp_path) as run:
        assert await run_while(run, act) is None


async def test_cancelling_cancels_the_batch_and_waits_for_its_end(tmp_path: Path) -> None:
    async def act() -> None:
        run.answers.put_nowait(Choice.CANCEL)
        run.interrupts.note_press()

    async with watched(tmp_path) as run:
        assert await run_while(run, act) is Choice.CANCEL
        assert run.double.cancelled == [1]
        assert run.batch_progress.done


async def test_the_view_knows_what_runs_where(tmp_path: Path) -> None:
    async with watched(tmp_path) as run, asyncio.timeout(20):
        run.double.start(1)
        watching = asyncio.create_task(run.watch.run())
        await run.double.streaming.wait()
        run.double.tell_progress(1, 0.25, "12 of 48 tokens")
        run.double.finish(2)
        seen = run.batch_progress
        while not (seen.task_progress and seen.slots and seen.tasks.get(2, None) and run.lines):  # noqa: ASYNC110
            await asyncio.sleep(0)  # only yields: a view looks when it likes, so nothing signals a change

        shown = describe_slot(seen.slots["n/cpu0"], seen)
        assert shown == ("llama", 0.25, "one  12 of 48 tokens")
        assert format_overall(seen).startswith("1/3  1 succeeded, 1 running, 1 queued")
        watching.cancel()


async def test_an_unfinished_batch_is_continued_and_a_finished_one_is_run_anew(tmp_path: Path) -> None:
    async with api_double() as double, Api(double.url, None) as api:
        memory = Generations(tmp_path)
        first = await submit_or_continue(api, the_batch(), {}, memory)
        again = await submit_or_continue(api, the_batch(), {}, memory)
        await finish_all(double)
        anew = await submit_or_continue(api, the_batch(), {}, memory)
        forgetful = await submit_or_continue(api, the_batch(), {}, Generations(None))

    assert (first.batch, first.continued) == (1, False)
    assert (again.batch, again.continued) == (1, True)
    assert (anew.batch, anew.continued) == (2, False)
    assert (forgetful.batch, forgetful.continued) == (2, True)
