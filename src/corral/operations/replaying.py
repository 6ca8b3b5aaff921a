"""Plays tasks that a queue has finished once more, on another cluster file; and batches before they are submitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.operations.cluster_file import open_cluster, read_cluster_file
from corral.operations.planning import PlanAsked, plan_layouts
from corral.planning.forecast.batches import BatchForecast, Job, forecast_batch
from corral.planning.forecast.replay import Ended, Replay, replay
from corral.planning.forecast.seats import gpu_slots
from corral.scheduling.durations import History, observe
from corral.scheduling.values import DurationKey, Priority, TaskClass
from corral.units import Bytes, UnitError, parse_duration
from corral.work import Json, SlotId

_UNLISTED = "unlisted"
"""The device model of slots that the cluster file does not have, such as processors."""


class NothingToReplayError(CorralError):
    """No task has succeeded since then."""

    code: ClassVar[str] = "forecast.nothing_to_replay"
    kind: ClassVar[Kind] = Kind.MISSING


class SinceError(CorralError):
    """Neither an instant nor a duration."""

    code: ClassVar[str] = "forecast.since"
    kind: ClassVar[Kind] = Kind.INVALID


def since_when(text: str, *, now: datetime) -> datetime:
    """Read an instant (`2026-03-01T22:00`) or how long ago it was (`12h`). Raises: SinceError."""
    try:
        return now - parse_duration(text)
    except UnitError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise SinceError(
            f"neither an instant nor a duration: {text!r}", hint="write 12h or 2026-03-01T22:00"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=now.tzinfo)


def replay_files(finished: Callable[[], Sequence[Json]], before: Path | None, after: Path) -> Replay:
    """Replay finished tasks, as the HTTP API shows them, from one cluster file to another; the files are read first.

    Raises: NothingToReplayError, UnreadableClusterFileError, ClusterFileError.
    """
    first, second = open_cluster(before).cluster, open_cluster(after).cluster
    ended = [_ended(task) for task in finished() if task["started_at"] and task["finished_at"] and task["slots"]]
    if not ended:
        raise NothingToReplayError(
            "no task has succeeded since then", hint="go further back with `--replay`, or look at `corral tasks list`"
        )
    return replay(ended, first, second)


def history_of(tasks: Sequence[Json], path: Path | None) -> History:
    """What finished tasks, as the HTTP API shows them, say of durations on the cards of a cluster file.

    Raises: NothingToReplayError, UnreadableClusterFileError, ClusterFileError.
    """
    models = {slot.id: slot.device_model for slot in gpu_slots(open_cluster(path).cluster, frozenset())}
    ended = [_ended(task) for task in tasks if task["started_at"] and task["finished_at"] and task["slots"]]
    if not ended:
        raise NothingToReplayError(
            "no task has succeeded since then", hint="go further back, or look at `corral tasks list`"
        )
    history = History()
    for task in sorted(ended, key=lambda one: one.finished_at):
        key = DurationKey(task.engine, task.model, models.get(task.slots[0], _UNLISTED))
        history = observe(history, key, task.seconds)
    return history


def forecast_batch_on(path: Path | None, tasks: Sequence[Mapping[str, Json]]) -> BatchForecast:
    """Forecast a batch, its tasks as the HTTP API takes them.

    Raises: UnreadableClusterFileError, ClusterFileError.
    """
    planned = plan_layouts(PlanAsked(cluster=read_cluster_file(path)))
    return forecast_batch(planned.file.cluster, [_job(task) for task in tasks], planned.plans)


def _ended(task: Json) -> Ended:
    return Ended(
        id=task["id"],
        owner=task["owner"],
        engine=task["engine"],
        model=task["model"],
        queue=task["queue"],
        task_class=TaskClass(task["class"]),
        priority=Priority[task["priority"].upper()],
        gpus=task["gpus"],
        memory=None if task["memory"] is None else Bytes(task["memory"]),
        needs=tuple(task["needs"]),
        created_at=datetime.fromisoformat(task["created_at"]),
        queued_at=datetime.fromisoformat(task["queued_at"] or task["created_at"]),
        started_at=datetime.fromisoformat(task["started_at"]),
        finished_at=datetime.fromisoformat(task["finished_at"]),
        slots=tuple(SlotId(slot) for slot in task["slots"]),
    )


def _job(task: Mapping[str, Json]) -> Job:
    files: Mapping[str, Json] = task.get("files", {})
    outputs = [file["task"] for file in files.values() if "task" in file]
    asked = [need for need in task.get("needs", ()) if isinstance(need, str)]  # a number is a task of another batch
    sleeps = task["engine"] == "sleep"
    memory = task.get("memory")
    return Job(
        name=task["name"],
        engine=task["engine"],
        model=task.get("model"),
        queue=task.get("queue") or "default",
        task_class=TaskClass(task.get("class") or TaskClass.BATCH),
        priority=Priority[(task.get("priority") or "normal").upper()],
        gpus=task.get("gpus") or 1,
        memory=None if memory is None else Bytes(memory),
        needs=tuple(dict.fromkeys([*asked, *outputs])),
        seconds=float(task["inputs"]["seconds"]) if sleeps else None,
    )
