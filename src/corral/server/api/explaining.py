"""Why a task is where it is, in every state; what the policy says is taken from the dispatcher."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from corral.scheduling.values import Explanation
from corral.server.api.schemas import ExplanationOut
from corral.tasks.lifecycle import TERMINAL, TaskState
from corral.tasks.values import Task


def explain(task: Task, needs: Iterable[Task], policy: Explanation | None, *, now: datetime) -> ExplanationOut:
    """Explain a task; `needs` are the tasks that it needs, `policy` is asked for queued tasks alone."""
    match task.state:
        case TaskState.WAITING:
            return _waiting(task, needs)
        case TaskState.QUEUED:
            return _queued(task, policy, now)
        case TaskState.LEASED | TaskState.RUNNING:
            return _active(task)
        case TaskState.SUCCEEDED | TaskState.FAILED | TaskState.CANCELLED:
            return _ended(task)


def _waiting(task: Task, needs: Iterable[Task]) -> ExplanationOut:
    open_needs = [need for need in needs if need.state not in TERMINAL]
    if open_needs:
        listed = ", ".join(f"{need.id} ({need.name}) is {need.state}" for need in open_needs[:10])
        more = f" and {len(open_needs) - 10} more" if len(open_needs) > 10 else ""
        return _told(task, "needs", f"it waits for {len(open_needs)} tasks: {listed}{more}", task.created_at)
    if task.not_before is not None:
        summary = f"it waits for its start time, {task.not_before.isoformat()}"
        return _told(task, "start_time", summary, task.created_at, may_start_at=task.not_before)
    return _told(task, "needs", "what it needs has just ended; it is queued next", task.created_at)


def _queued(task: Task, policy: Explanation | None, now: datetime) -> ExplanationOut:
    since = task.queued_at or task.created_at
    if task.ready_at is not None and task.ready_at > now:
        failures = task.attempts + task.losses
        summary = f"it waits until {task.ready_at.isoformat()} after {failures} tries that went wrong"
        return _told(task, "backoff", summary, since, may_start_at=task.ready_at)
    if policy is None:
        return _told(task, "undecided", "the dispatcher has not decided about it yet", since)
    return ExplanationOut(
        task=task.id,
        state=task.state,
        rule=policy.rule.value,
        summary=policy.summary,
        slots={**policy.slots},
        since=policy.since,
        may_start_at=policy.may_start_at,
    )


def _active(task: Task) -> ExplanationOut:
    where = ", ".join(task.slots)
    doing = "starts" if task.state is TaskState.LEASED else "runs"
    since = task.started_at or task.queued_at or task.created_at
    if task.cancel_requested:
        return _told(task, "stopping", f"it {doing} on {where} and is being cancelled", since)
    return _told(task, task.state.value, f"it {doing} on {where}", since)


def _ended(task: Task) -> ExplanationOut:
    since = task.finished_at or task.created_at
    if task.state is TaskState.FAILED and task.error is not None:
        hint = f" ({task.error.hint})" if task.error.hint else ""
        return _told(task, "failed", f"it failed: {task.error.what}{hint}", since)
    return _told(
        task, task.state.value, f"it {'was cancelled' if task.state is TaskState.CANCELLED else 'succeeded'}", since
    )


def _told(
    task: Task, rule: str, summary: str, since: datetime, *, may_start_at: datetime | None = None
) -> ExplanationOut:
    return ExplanationOut(
        task=task.id, state=task.state, rule=rule, summary=summary, slots={}, since=since, may_start_at=may_start_at
    )
