"""An engine hangs in a real worker process that listens to nothing: deadline, kill, retry elsewhere."""

from __future__ import annotations

from pathlib import Path

from builders import a_submission, a_task
from corral.tasks.lifecycle import TaskState
from corral.tasks.store import story
from corral.tasks.store.submitting import submit
from doubles.engines import ScriptedEngine
from doubles.local_engines import running_below
from doubles.misbehaving_engine import misbehaving_engine
from doubles.yard import Yard


async def test_worker_that_ignores_everything_is_killed_and_its_task_runs_on_another_slot(
    yard: Yard, tmp_path: Path
) -> None:
    hung, sound = misbehaving_engine(tmp_path), ScriptedEngine(name="misbehaving")
    yard.start(hung, sound)
    task = a_task(engine="misbehaving", inputs={"how": "leave_a_daemon"}, timeout_s=1.5)
    (id,) = (await submit(yard.pool, a_submission(task), queued_limits={})).tasks
    (ended,) = await yard.ended(id)
    assert (ended.state, ended.attempts) == (TaskState.SUCCEEDED, 1)
    leased, failed, again = [
        event for event in await story.read(yard.pool, task=id) if event.kind in ("leased", "attempt_failed")
    ]
    assert failed.data["error"]["code"] == "attempt.timeout"
    assert "did not finish within 1.5 s" in failed.data["error"]["what"]
    assert (leased.data["slots"], again.data["slots"]) == (
        ["node/cpu0/misbehaving"],
        ["node/cpu1/misbehaving"],
    )
    assert not running_below(tmp_path), "neither the worker nor the daemon that it left runs any longer"
