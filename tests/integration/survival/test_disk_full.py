"""The disk is full while an output is written: the attempt fails with a clear error, and the queue goes on.

`/dev/full` stands for the full disk: every write to it fails with the kernel's own ENOSPC, for any user.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from builders import a_submission, a_task
from corral.engines.building import Device, build
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.submitting import submit
from corral.work import OutputFile, Produced, Reporter, Work
from doubles.engines import ScriptedEngine
from doubles.yard import Yard

FULL = Path("/dev/full")


def fill_the_disk(descriptor: int) -> None:
    """Stand for an fsync on a full disk: file systems that allocate late say only then that there is no room."""
    del descriptor
    with FULL.open("wb", buffering=0) as full:
        full.write(b"x")


async def write_to_a_full_disk(work: Work, report: Reporter) -> Produced:
    """An engine in the server whose output finds no room."""
    path = work.scratch / "image.png"
    path.symlink_to(FULL)
    path.write_bytes(b"x" * 4096)
    return Produced(files=(OutputFile(name="image.png", path=path),))


async def write(work: Work, report: Reporter) -> Produced:
    """An engine whose output finds room in its folder."""
    path = work.scratch / "image.png"
    path.write_bytes(b"x" * 4096)
    return Produced(files=(OutputFile(name="image.png", path=path),))


async def test_engine_that_finds_no_room_fails_its_attempt_and_says_what_to_do(yard: Yard) -> None:
    engine = ScriptedEngine(write_to_a_full_disk)
    yard.start(engine)
    (id,) = (await submit(yard.pool, a_submission(a_task(max_attempts=1)), queued_limits={})).tasks
    (task,) = await yard.ended(id)
    assert (task.state, task.outputs) == (TaskState.FAILED, ())
    assert task.error is not None
    assert task.error.code == "artifact.disk_full"
    assert "no space is left" in task.error.what
    assert task.error.hint == "free some space, or run `corral gc`"


async def test_output_that_does_not_fit_into_the_store_is_not_recorded_and_the_queue_goes_on(yard: Yard) -> None:
    roomy, full = yard.artifacts, ArtifactStore(yard.folder / "artifacts", fsync=fill_the_disk)
    yard.artifacts = full
    engine = ScriptedEngine(write)
    yard.start(engine)
    first = (await submit(yard.pool, a_submission(a_task(max_attempts=1)), queued_limits={})).tasks
    (failed,) = await yard.ended(*first)
    assert (failed.state, failed.outputs) == (TaskState.FAILED, ())
    assert failed.error is not None
    assert failed.error.code == "artifact.disk_full"
    assert await yard.pool.fetchval("select count(*) from outputs") == 0

    await yard.stop()
    yard.artifacts = roomy
    yard.start(engine)
    (done,) = await yard.ended(*(await submit(yard.pool, a_submission(a_task("again")), queued_limits={})).tasks)
    assert done.state is TaskState.SUCCEEDED
    assert yard.artifacts.verify(done.outputs[0].sha256)


async def test_program_that_finds_no_room_fails_with_its_own_words_and_the_next_one_runs(
    yard: Yard, tmp_path: Path
) -> None:
    device = Device(name="cpu0")
    engine = build("command", device=device, threads=1, options={}, locate=Path, log_dir=tmp_path)
    yard.start(engine)
    too_much = {"argv": ["dd", "if=/dev/zero", f"of={FULL}", "count=1"], "env": {"LC_ALL": "C"}}
    little = {"argv": ["sh", "-c", "echo little > out.txt"], "outputs": ["out.txt"]}
    ids = (
        await submit(
            yard.pool,
            a_submission(
                a_task("too-much", engine="command", inputs={**too_much, "outputs": ["out.txt"]}, max_attempts=1),
                a_task("little", engine="command", inputs=little),
            ),
            queued_limits={},
        )
    ).tasks
    failed, done = await yard.ended(*ids)
    assert failed.state is TaskState.FAILED
    assert [output.name for output in failed.outputs if output.name != "log.txt"] == []
    assert failed.error is not None
    assert os.strerror(errno.ENOSPC) in failed.error.what
    assert done.state is TaskState.SUCCEEDED
