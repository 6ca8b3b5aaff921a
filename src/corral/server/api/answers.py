"""Turns the domain's values into answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote

from corral.errors import Problem
from corral.requests import BatchFields, TaskFields, values_of
from corral.scheduling.values import Gate, Slot
from corral.server.api.schemas import (
    BatchOut,
    OutputOut,
    ProblemOut,
    ProgressOut,
    ResidentOut,
    RunningOut,
    SlotOut,
    StoryEventOut,
    TaskOut,
)
from corral.tasks.board import Progress
from corral.tasks.values import Batch, StoryEvent, Task


def task(task: Task, progress: Mapping[int, Progress]) -> TaskOut:
    """Describe a task; `progress` is the board's."""
    return TaskOut.model_construct(
        **values_of(task, TaskFields),
        id=task.id,
        batch=task.batch,
        name=task.name,
        owner=task.owner,
        engine=task.engine,
        files=dict(task.files),
        needs=list(task.needs),
        retry_of=task.retry_of,
        state=task.state,
        created_at=task.created_at,
        queued_at=task.queued_at,
        ready_at=task.ready_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        attempts=task.attempts,
        losses=task.losses,
        slots=list(task.slots),
        cancel_requested=task.cancel_requested,
        error=None if task.error is None else problem(task.error),
        result=None if task.result is None else dict(task.result),
        outputs=_outputs(task),
        progress=_progress(progress.get(task.id)),
    )


def problem(problem: Problem) -> ProblemOut:
    """Describe one thing that is wrong."""
    return ProblemOut(code=problem.code, what=problem.what, where=problem.where, hint=problem.hint)


def batch(batch: Batch) -> BatchOut:
    """Describe a batch."""
    return BatchOut.model_construct(
        **values_of(batch, BatchFields),
        id=batch.id,
        owner=batch.owner,
        created_at=batch.created_at,
        task_count=batch.task_count,
        states=dict(batch.states),
        done=batch.done,
    )


def story_event(event: StoryEvent) -> StoryEventOut:
    """Describe one line of the story."""
    return StoryEventOut(
        id=event.id, at=event.at, task=event.task, batch=event.batch, kind=event.kind, data=dict(event.data)
    )


def slots(slots: Iterable[Slot], gates: Mapping[str, Gate], progress: Mapping[int, Progress]) -> list[SlotOut]:
    """Describe slots; `gates` are those that people set, which the dispatcher may not have seen yet."""
    return [_slot(slot, gates.get(slot.id), progress) for slot in slots]


def _slot(slot: Slot, gate: Gate | None, progress: Mapping[int, Progress]) -> SlotOut:
    seen, reason = slot.gate, slot.gate_reason
    if gate is None and seen in (Gate.PAUSED, Gate.DRAINING):
        seen, reason = Gate.OPEN, ""
    if gate is not None and gate is not seen:
        seen, reason = gate, f"{gate} by an administrator"
    running = slot.running
    return SlotOut(
        id=slot.id,
        node=slot.node,
        device=slot.device,
        device_model=slot.device_model,
        capacity=slot.capacity,
        engines=sorted(slot.engines),
        engine_problems=dict(slot.engine_problems),
        resident=[ResidentOut(engine=one.engine, model=one.model, memory=one.memory) for one in slot.resident],
        gate=seen,
        gate_reason=reason,
        running=None
        if running is None
        else RunningOut(
            task=running.task,
            owner=running.owner,
            engine=running.engine,
            model=running.model,
            started_at=running.started_at,
            expected_end=running.expected_end,
        ),
        progress=None if running is None else _progress(progress.get(running.task)),
    )


def _progress(progress: Progress | None) -> ProgressOut | None:
    if progress is None:
        return None
    return ProgressOut(fraction=progress.fraction, note=progress.note, slot=progress.slot, at=progress.at)


def _outputs(task: Task) -> list[OutputOut]:
    return [
        OutputOut(
            name=file.name,
            sha256=file.sha256,
            size=file.size,
            media_type=file.media_type,
            url=f"/corral/v1/tasks/{task.id}/outputs/{quote(file.name, safe='')}",
        )
        for file in task.outputs
    ]
