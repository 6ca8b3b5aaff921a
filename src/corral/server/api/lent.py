"""Holds as answers, and what a hold can ask for on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

from corral.engine_kinds import HOLD
from corral.engines.visible_gpus import list_visible
from corral.errors import Kind, Problem, ProblemsError
from corral.processes.kernel import identify_machine
from corral.server.api.answers import describe_problem
from corral.server.api.requests import HoldAsked
from corral.server.api.schemas import DeviceHold, ExplanationOut, HeldDevice
from corral.slots.values import DeviceSpec, PlaceView
from corral.tasks.board import Progress
from corral.tasks.lifecycle import ACTIVE, TERMINAL, TaskState
from corral.tasks.store.holds import StoredHold
from corral.tasks.values import Task
from corral.units import format_bytes

HOLD_VARIABLE = "CORRAL_HOLD"
"""Names the hold to the program that has it."""

_State = Literal["waiting", "starting", "granted", "ending", "ended"]


class HoldRefusedError(ProblemsError):
    """This machine cannot give what was asked for, now or later."""

    code: ClassVar[str] = "hold.refused"
    kind: ClassVar[Kind] = Kind.INVALID


def check_hold(asked: HoldAsked, places: Sequence[PlaceView]) -> str:
    """Return the node of this server, whose devices could give what is asked for. Raises: HoldRefusedError."""
    devices = [place.device for place in places for slot in place.slots if slot.spec.engine == HOLD.name]
    problems = list(_find_problems(asked, devices))
    if problems:
        raise HoldRefusedError(problems)
    return devices[0].node


def _find_problems(asked: HoldAsked, devices: Sequence[DeviceSpec]) -> Iterator[Problem]:
    if not devices:
        what = "this server lends no device"
        hint = "add this machine to `nodes` of the cluster file, without `engines.hold.enabled: false`"
        yield Problem(code="hold.no_device", what=what, hint=hint)
        return
    nodes = sorted({device.node for device in devices})
    if asked.machine is not None and asked.machine != identify_machine():
        yield _describe_elsewhere("this server runs on another machine than the program", nodes[0])
    if asked.node is not None and asked.node not in nodes:
        yield _describe_elsewhere(
            f"node {asked.node!r} is another machine than {nodes[0]!r}, this server's", asked.node
        )
    gpus = [device for device in devices if device.visible is not None]
    if gpus and asked.cpu:
        what = f"{nodes[0]!r} has GPUs, and its processor is lent only without any"
        yield Problem(code="hold.has_gpu", what=what, where="cpu", hint="leave `--cpu` out")
    if not gpus and not asked.cpu:
        hint = "add `--cpu` (`cpu=True` in Python) to take a turn on its processor"
        yield Problem(code="hold.no_gpu", what=f"{nodes[0]!r} has no GPU", where="gpus", hint=hint)
    yield from _check_size(asked, devices)


def _describe_elsewhere(what: str, node: str) -> Problem:
    return Problem(
        code="hold.other_machine",
        what=f"{what}; a hold gives a program the GPUs of the machine where it runs",
        where="node",
        hint=f"start it on {node!r} with `corral hold` there, or submit it as a task of the engine `command`",
    )


def _check_size(asked: HoldAsked, devices: Sequence[DeviceSpec]) -> Iterator[Problem]:
    if asked.gpus > len(devices):
        what = f"{asked.gpus} devices are asked for, and {len(devices)} can be lent here"
        yield Problem(code="hold.too_many", what=what, where="gpus", hint="ask for fewer with `--gpus`")
    sizes = [device.limit or device.memory for device in devices]
    known = [size for size in sizes if size is not None]
    if asked.memory is not None and len(known) == len(sizes) and max(known) < asked.memory:
        what = f"{format_bytes(asked.memory)} are asked for, and the largest device has {format_bytes(max(known))}"
        yield Problem(code="hold.too_large", what=what, where="memory", hint="ask for less with `--memory`")


def describe_hold(
    task: Task,
    hold: StoredHold | None,
    places: Sequence[PlaceView],
    progress: Mapping[int, Progress],
    waits: ExplanationOut | None,
) -> DeviceHold:
    """Describe a hold by its task and its row, which is made a moment later."""
    state = _judge_state(task, hold)
    is_granted = hold is not None and hold.granted_at is not None and state != "ended"
    devices = list(_list_devices(hold, places)) if hold is not None and is_granted else []
    visible = [device.visible for device in devices if device.visible is not None]
    seen = progress.get(task.id)
    return DeviceHold.model_construct(
        id=task.id,
        owner=task.owner,
        program=str(task.inputs.get("program") or ""),
        state=state,
        queue=task.queue,
        task_class=task.task_class,
        priority=task.priority,
        gpus=task.gpus,
        memory=task.memory,
        node=task.node,
        created_at=task.created_at,
        granted_at=None if hold is None else hold.granted_at,
        expires_at=None if hold is None or state == "ended" else hold.expires_at,
        ends_at=None if hold is None else hold.ends_at,
        ended_at=task.finished_at,
        because=_find_reason(task, hold),
        error=None if task.error is None else describe_problem(task.error),
        devices=devices,
        environment={**list_visible(visible), HOLD_VARIABLE: str(task.id)} if is_granted else {},
        waits=waits if state == "waiting" else None,
        note=seen.note if seen is not None else "",
    )


def _judge_state(task: Task, hold: StoredHold | None) -> _State:
    if task.state in TERMINAL or (hold is not None and hold.ended is not None):
        return "ended"
    if hold is not None and hold.ending is not None:
        return "ending"
    if hold is not None and hold.granted_at is not None:  # while it is found again after a restart, too
        return "granted"
    return "starting" if task.state in ACTIVE else "waiting"


def _find_reason(task: Task, hold: StoredHold | None) -> str | None:
    if hold is not None and hold.ended not in (None, "gone"):
        return hold.ended
    if task.state in (TaskState.CANCELLED, TaskState.FAILED):
        return task.state.value
    return None if hold is None or hold.ending is None else hold.ending.value


def _list_devices(hold: StoredHold, places: Sequence[PlaceView]) -> Iterator[HeldDevice]:
    """List the devices as they were handed over; a device without a name for programs is not in `hold.devices`."""
    named = {slot.spec.id: place.device for place in places for slot in place.slots}
    for number, slot in enumerate(hold.slots):
        spec = named.get(slot)
        yield HeldDevice(
            device=slot.rpartition("/")[0],
            slot=slot,
            model="unknown" if spec is None else spec.model,
            memory=None if spec is None else spec.memory,
            visible=hold.devices[number] if number < len(hold.devices) else None,
        )
