"""The disk is full while an output is written: the attempt is lost, not spent, and tasks wait until there is room.

`/dev/full` stands for the full disk: every write to it fails with the kernel's own ENOSPC, for any user.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from builders import a_submission, a_task
from corral.engines.building import Device, build
from corral.tasks.alarms import Alarms
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.disk import DiskWatch
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.submitting import submit
from corral.units import Bytes
from corral.work import EngineError, OutputFile, Produced, Reporter, Work
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


class Disk:
    """An fsync that fails as that of a full disk while `full` is set."""

    def __init__(self) -> None:
        self.full = True

    def __call__(self, descriptor: int) -> None:
        if self.full:
            fill_the_disk(descriptor)


async def test_engine_that_finds_no_room_loses_its_attempt_and_spends_none(yard: Yard) -> None:
    engine = ScriptedEngine(write_to_a_full_disk)
    yard.start(engine)
    (id,) = (await submit(yard.pool, a_submission(a_task(max_attempts=1)), queued_limits={})).tasks
    (task,) = await yard.until(lambda task: task.losses > 0, id)
    assert (task.state, task.attempts, task.outputs) == (TaskState.QUEUED, 0, ())
    assert task.error is not None
    assert task.error.code == "artifact.disk_full"
    assert "no space is left" in task.error.what
    assert task.error.hint == "free some space: `corral gc`, `corral uploads rm`, `corral models rm`"


async def test_tasks_wait_while_the_disk_is_full_and_all_succeed_once_it_has_room(yard: Yard) -> None:
    disk = Disk()
    yard.artifacts = ArtifactStore(yard.folder / "artifacts", fsync=disk)
    engine = ScriptedEngine(write)
    yard.start(engine)
    tasks = [a_task(f"{number}", max_attempts=1) for number in range(10)]
    ids = (await submit(yard.pool, a_submission(*tasks), queued_limits={})).tasks
    await yard.shown(lambda places: all("no space is left" in place.gate_reason for place in places))
    await yard.until_some(lambda task: task.losses > 0, 1, *ids)
    assert [alarm.name for alarm in yard.alarms.raised] == ["disk"]
    assert len(engine.runs) == 1, "the others wait: they would find no room either"
    disk.full = False
    done = await yard.ended(*ids)
    assert {(task.state, task.attempts) for task in done} == {(TaskState.SUCCEEDED, 0)}
    assert sum(task.losses for task in done) == 1
    assert all(yard.artifacts.verify(task.outputs[0].sha256) for task in done)
    assert yard.alarms.raised == ()


async def test_failure_of_a_program_while_the_disk_is_full_is_the_disks(yard: Yard) -> None:
    disk = Disk()
    yard.artifacts = ArtifactStore(yard.folder / "artifacts", fsync=disk)

    async def fail(work: Work, report: Reporter) -> Produced:
        if disk.full:
            raise EngineError("exit code 1")
        return Produced()

    yard.start(ScriptedEngine(fail))
    (id,) = (await submit(yard.pool, a_submission(a_task(max_attempts=1)), queued_limits={})).tasks
    (task,) = await yard.until(lambda task: task.losses > 0, id)
    assert task.error is not None
    assert (task.error.code, task.attempts) == ("artifact.disk_full", 0)
    assert task.error.what.endswith("the attempt ended with: exit code 1")
    disk.full = False
    (task,) = await yard.ended(id)
    assert task.state is TaskState.SUCCEEDED


async def test_nothing_starts_below_the_reserve(tmp_path: Path) -> None:
    store, alarms = ArtifactStore(tmp_path), Alarms()
    store.prepare()
    disk = DiskWatch(store, alarms, reserve=Bytes(2**60))
    problem = await disk.try_writing()
    assert problem is not None
    assert problem.what.endswith("and nothing starts below 1048576.0 TiB")
    assert [alarm.name for alarm in alarms.raised] == ["disk"]


async def test_disk_that_became_read_only_is_one_that_takes_nothing(tmp_path: Path) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    store = ArtifactStore(tmp_path, fsync=refuse)
    store.prepare()
    problem = await DiskWatch(store, Alarms(), reserve=Bytes(0)).try_writing()
    assert problem is not None
    assert problem.what.startswith("the disk is read-only")


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
