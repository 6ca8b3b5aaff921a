"""The domain's values as answers, and the explanation of a task in every state.

The policy's reason for a queued task is taken from the dispatcher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from urllib.parse import quote

from corral.errors import Problem
from corral.requests import BatchFields, TaskFields, get_values
from corral.scheduling.values import Explanation, Gate, RunningTask, is_guest
from corral.server.api.schemas import (
    BatchOut,
    DeadlineOut,
    DeliveriesOut,
    ExplanationOut,
    OutputOut,
    ProblemOut,
    ProgressOut,
    StoryEventOut,
    TaskOut,
)
from corral.server.api.slot_schemas import (
    DeviceOut,
    GuestOut,
    HoldOut,
    ProgramOut,
    ResidentOut,
    RunningOut,
    SlotOut,
    Slots,
    YieldOut,
)
from corral.slots.device_use import DeviceUse
from corral.slots.guests import GuestView
from corral.slots.values import Hold, PlaceView, SlotView, find_gate, find_hours_around
from corral.slots.yielding import HandedOver, yield_by_hand
from corral.tasks.board import Progress
from corral.tasks.lifecycle import TERMINAL, TaskState
from corral.tasks.store.deliveries import OpenDelivery
from corral.tasks.values import Batch, Deliveries, StoryEvent, Task
from corral.units import list_some
from corral.work import SlotId


def describe_task(task: Task, progress: Mapping[int, Progress]) -> TaskOut:
    """Describe a task; `progress` is the board's."""
    return TaskOut.model_construct(
        **get_values(task, TaskFields),
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
        joules=task.joules,
        slots=list(task.slots),
        cancel_requested=task.cancel_requested,
        error=None if task.error is None else describe_problem(task.error),
        result=None if task.result is None else dict(task.result),
        outputs=_describe_outputs(task),
        progress=_describe_progress(progress.get(task.id)),
    )


def describe_problem(problem: Problem) -> ProblemOut:
    """Describe one thing that is wrong."""
    return ProblemOut(code=problem.code, what=problem.what, where=problem.where, hint=problem.hint)


def describe_batch(
    batch: Batch, find_problem: Callable[[str], Problem | None], deadline: DeadlineOut | None
) -> BatchOut:
    """Describe a batch; `find_problem` says why nothing can be written below a folder of outputs now."""
    return BatchOut.model_construct(
        **get_values(batch, BatchFields),
        id=batch.id,
        owner=batch.owner,
        created_at=batch.created_at,
        task_count=batch.task_count,
        states=dict(batch.states),
        done=batch.done,
        deliveries=None if batch.deliveries is None else _describe_deliveries(batch.deliveries, find_problem),
        deadline=deadline,
    )


def _describe_deliveries(deliveries: Deliveries, find_problem: Callable[[str], Problem | None]) -> DeliveriesOut:
    problem = next(filter(None, map(find_problem, deliveries.roots)), deliveries.problem)
    return DeliveriesOut(
        written=deliveries.written,
        waiting=deliveries.waiting,
        problem=None if problem is None or not deliveries.waiting else describe_problem(problem),
    )


def describe_event(event: StoryEvent) -> StoryEventOut:
    """Describe one line of the story."""
    return StoryEventOut(
        id=event.id, at=event.at, task=event.task, batch=event.batch, kind=event.kind, data=dict(event.data)
    )


def describe_slots(
    places: Iterable[PlaceView],
    gates: Mapping[SlotId, Gate],
    progress: Mapping[int, Progress],
    guests: Iterable[GuestView],
    now: datetime,
) -> Slots:
    """Describe devices and slots; `gates` are those that people set, which the dispatcher has perhaps not seen yet."""
    listed = list(places)
    devices = {place.device.name: place for place in listed}
    return Slots(
        devices=[_describe_device(place) for place in devices.values()],
        items=[_describe_slot(place, slot, gates, progress, now) for place in listed for slot in place.slots],
        guests=[_describe_guest(guest) for guest in guests],
    )


def _describe_guest(guest: GuestView) -> GuestOut:
    wait = guest.wait
    return GuestOut(
        owner=guest.owner,
        label=guest.label,
        asked_at=guest.asked_at,
        slot=guest.slot,
        started_at=guest.started_at,
        ahead=None if wait is None else wait.ahead,
        expected_s=None if wait is None else wait.expected_s,
        because="" if wait is None else wait.because,
    )


def add_handed_over(place: PlaceView, handed_over: HandedOver | None) -> PlaceView:
    """Show a device that was given to other programs by hand, or taken back, before the dispatcher has seen it."""
    seen = place.yielding
    if handed_over is not None:
        if seen is not None and seen.handed_over == handed_over:
            return place
        return replace(place, yielding=yield_by_hand(handed_over, None, handed_over.since))
    return place if seen is None or seen.handed_over is None else replace(place, yielding=None)


def _describe_device(place: PlaceView) -> DeviceOut:
    device, use, yielding = place.device, place.use or DeviceUse(), place.yielding
    return DeviceOut(
        own=use.own,
        used=use.used,
        busy=use.busy,
        watts=use.power_w,
        temperature=use.temperature_c,
        programs=[ProgramOut(name=program.name, user=program.user, memory=program.memory) for program in use.programs],
        blind=use.blind,
        yields=None if yielding is None else YieldOut(to=yielding.to, since=yielding.since, until=yielding.until),
        id=device.name,
        node=device.node,
        provider=device.provider,
        model=device.model,
        memory=device.memory,
        capacity=device.capacity,
        foreign=device.foreign,
    )


def _describe_slot(
    place: PlaceView, slot: SlotView, gates: Mapping[SlotId, Gate], progress: Mapping[int, Progress], now: datetime
) -> SlotOut:
    spec, facts = slot.spec, place.facts
    opens_at, closes_at = find_hours_around(facts, now)
    gate, reason = _judge_gate(slot.gate, facts.gate_reason, find_gate(spec, gates))
    if place.yielding is not None and not facts.gate_reason:
        gate, reason = Gate.DRAINING, f"yields to {place.yielding.to}"
    tasks = [running for running in facts.running if running.engine == spec.engine]
    running = tasks[0] if tasks else None
    return SlotOut(
        id=spec.id,
        device=spec.device,
        group=spec.place,  # the word that clients read
        node=place.device.node,
        device_model=place.device.model,
        engine=spec.engine,
        instance=spec.instance,
        gate=gate,
        gate_reason=reason,
        problem=slot.problem,
        opens_at=opens_at,
        closes_at=closes_at,
        resident=[ResidentOut(model=resident.model, memory=resident.memory) for resident in slot.resident],
        computes_on=slot.computes_on,
        caution=slot.caution,
        lanes=slot.lanes,
        running=None if running is None else _describe_running(running),
        tasks=list(map(_describe_running, tasks)),
        held=next((_describe_hold(hold) for hold in place.holds), None),
        progress=None if running is None else _describe_progress(progress.get(running.task)),
    )


def _judge_gate(seen: Gate, reason: str, wanted: Gate) -> tuple[Gate, str]:
    if reason:  # a fact about the slot: people did not set it, and cannot lift it
        return seen, reason
    return wanted, "" if wanted is Gate.OPEN else f"{wanted} by an administrator"


def _describe_running(running: RunningTask) -> RunningOut:
    return RunningOut(
        task=None if is_guest(running.task) else running.task,
        owner=running.owner,
        model=running.model,
        started_at=running.started_at,
        expected_end=running.expected_end,
    )


def _describe_hold(hold: Hold) -> HoldOut:
    return HoldOut(
        kind=hold.kind,
        owner=hold.owner,
        label=hold.label,
        since=hold.since,
        task=None if hold.task is None or is_guest(hold.task.task) else hold.task.task,
    )


def _describe_progress(progress: Progress | None) -> ProgressOut | None:
    if progress is None:
        return None
    return ProgressOut(fraction=progress.fraction, note=progress.note, slot=progress.slot, at=progress.at)


def _describe_outputs(task: Task) -> list[OutputOut]:
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


def explain(
    task: Task, needs: Iterable[Task], policy: Explanation | None, because: str | None, *, now: datetime
) -> ExplanationOut:
    """Explain a task; `needs` are the tasks that it needs, `policy` is asked for queued tasks alone.

    `because` is why its slots were chosen, once that is stored.
    """
    match task.state:
        case TaskState.WAITING:
            return _explain_waiting(task, needs)
        case TaskState.QUEUED:
            return _explain_queued(task, policy, now)
        case TaskState.LEASED | TaskState.RUNNING:
            return _explain_active(task, because)
        case TaskState.SUCCEEDED | TaskState.FAILED | TaskState.CANCELLED:
            return _explain_ended(task)


def _explain_waiting(task: Task, needs: Iterable[Task]) -> ExplanationOut:
    open_needs = [need for need in needs if need.state not in TERMINAL]
    if open_needs:
        listed = list_some((f"{need.id} ({need.name}) is {need.state}" for need in open_needs), most=10)
        return _make_explanation(task, "needs", f"it waits for {len(open_needs)} tasks: {listed}", task.created_at)
    if task.not_before is not None:
        summary = f"it waits for its start time, {task.not_before.isoformat()}"
        return _make_explanation(task, "start_time", summary, task.created_at, may_start_at=task.not_before)
    return _make_explanation(task, "needs", "what it needs has just ended; it is queued next", task.created_at)


def _explain_queued(task: Task, policy: Explanation | None, now: datetime) -> ExplanationOut:
    since = task.queued_at or task.created_at
    if task.ready_at is not None and task.ready_at > now:
        tries = " and ".join(
            f"{count} {ending} {'try' if count == 1 else 'tries'}"
            for count, ending in ((task.attempts, "failed"), (task.losses, "interrupted"))
            if count
        )
        summary = f"it waits until {task.ready_at.isoformat()}" + (f" after {tries}" if tries else "")
        return _make_explanation(task, "backoff", summary, since, may_start_at=task.ready_at)
    if policy is None:
        return _make_explanation(task, "undecided", "the dispatcher has not decided about it yet", since)
    return ExplanationOut(
        task=task.id,
        state=task.state,
        rule=policy.rule.value,
        summary=policy.summary,
        slots={**policy.slots},
        since=policy.since,
        may_start_at=policy.may_start_at,
        ahead=policy.ahead,
    )


def _explain_active(task: Task, because: str | None) -> ExplanationOut:
    where = ", ".join(task.slots) + (f" ({because})" if because else "")
    doing = "starts" if task.state is TaskState.LEASED else "runs"
    since = task.started_at or task.queued_at or task.created_at
    if task.cancel_requested:
        return _make_explanation(task, "stopping", f"it {doing} on {where} and is being cancelled", since)
    return _make_explanation(task, task.state.value, f"it {doing} on {where}", since)


def explain_delivery(task: Task, delivery: OpenDelivery, away: Problem | None) -> ExplanationOut:
    """Explain a task that has succeeded, and whose outputs wait for their folder; `away` is what that is in."""
    problem = away or delivery.problem
    because = "" if problem is None else f": {problem.what}" + (f" ({problem.hint})" if problem.hint else "")
    summary = f"it succeeded, and its outputs are not in {delivery.root}/{delivery.path} yet{because}"
    return _make_explanation(task, "outputs", summary, task.finished_at or task.created_at)


def _explain_ended(task: Task) -> ExplanationOut:
    since = task.finished_at or task.created_at
    if task.state is TaskState.FAILED and task.error is not None:
        where = f", at {task.error.where}" if task.error.where else ""
        hint = f" ({task.error.hint})" if task.error.hint else ""
        return _make_explanation(task, "failed", f"it failed: {task.error.what}{where}{hint}", since)
    return _make_explanation(
        task, task.state.value, f"it {'was cancelled' if task.state is TaskState.CANCELLED else 'succeeded'}", since
    )


def _make_explanation(
    task: Task, rule: str, summary: str, since: datetime, *, may_start_at: datetime | None = None
) -> ExplanationOut:
    return ExplanationOut(
        task=task.id,
        state=task.state,
        rule=rule,
        summary=summary,
        slots={},
        since=since,
        may_start_at=may_start_at,
        ahead=None,
    )
