"""`corral slots`: devices and slots, where tasks run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from corral.cli import terminal
from corral.cli.listing import format_ago, format_clock
from corral.cli.options import (
    AsJson,
    DataDir,
    DeviceNames,
    DryRun,
    SlotName,
    SlotNames,
    Url,
    Yes,
    make_example,
    make_group,
)
from corral.client.connection import call_server
from corral.units import format_bytes, format_duration, list_some, parse_duration
from corral.work import Json

if TYPE_CHECKING:
    from corral.client.api import Api

_FOLLOW_S = 0.5
"""Between two looks at a log that is followed."""

NAME = "slots"
app = make_group("List devices and slots, pause or drain them, or give them away.", example_command="corral slots list")


@app.command("list", epilog=make_example("corral slots list"))
def list_(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List devices, their slots, models, and what holds them."""
    answer = call_server(url, data_dir, lambda api: api.get("/corral/v1/slots"))
    if as_json:
        terminal.put_json(answer)
    else:
        _put_slots(answer)


@app.command("pause", epilog=make_example("corral slots pause node/gpu0"))
def pause(
    slots: SlotNames, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Give slots no new tasks; running tasks go on. A device means all its slots."""
    _change_gates(slots, "pause", url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


@app.command("resume", epilog=make_example("corral slots resume node/gpu0"))
def resume(
    slots: SlotNames, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Give slots tasks again. A device means all its slots."""
    _change_gates(slots, "resume", url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


@app.command("drain", epilog=make_example("corral slots drain node/gpu0/llama --yes"))
def drain(
    slots: SlotNames,
    yes: Yes = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Empty slots: no new tasks, and models unloaded when free.

    A device means all its slots.
    """
    if not dry_run:
        terminal.confirm(f"drain {', '.join(slots)}?", agreed=yes)
    _change_gates(slots, "drain", url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


@app.command("logs", epilog=make_example("corral slots logs desk/gpu0/comfyui -f"))
def logs(
    slot: SlotName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what it prints, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", min=0, max=10_000, help="Print so many of the last lines.")] = 50,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Print what the process of a slot's engine printed."""
    import asyncio

    async def read(api: Api) -> None:
        answer = await api.get("/corral/v1/slots/logs", {"slot": slot, "lines": lines})
        _put_log(answer, as_json=as_json)
        while follow:
            await asyncio.sleep(_FOLLOW_S)
            answer = await api.get("/corral/v1/slots/logs", {"slot": slot, "after": answer["position"]})
            if answer["lines"]:
                _put_log(answer, as_json=as_json)

    call_server(url, data_dir, read)


def _put_log(answer: Json, *, as_json: bool) -> None:
    if as_json:
        terminal.put_json(answer)
        return
    for line in answer["lines"]:
        terminal.put(line)


@app.command("yield", epilog=make_example("corral slots yield node/gpu0 --for 2h"))
def yield_(
    devices: DeviceNames,
    lasts: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="Give it for so long: 2h. Default: until it is taken back."),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Interrupt tasks at once; they are tried again later.")] = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Give GPUs to other programs, such as a game.

    Nothing starts there, and models are given up. Tasks that run go on to their end, or for the GPU's `interruptAfter`.
    """
    for_s = None if lasts is None else parse_duration(lasts).total_seconds()
    asked = {"devices": list(devices), "for_s": for_s, "now": now}
    _change_devices("yield", asked, url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


@app.command("take-back", epilog=make_example("corral slots take-back node/gpu0"))
def take_back(
    devices: DeviceNames, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Take GPUs back that were given to other programs with `yield`."""
    asked = {"devices": list(devices)}
    _change_devices("take-back", asked, url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


def _change_devices(
    verb: Literal["yield", "take-back"],
    asked: Json,
    *,
    url: str | None,
    data_dir: Path | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Ask the server to give devices away or take them back, and print how they are. Raises: RemoteError."""
    if dry_run:
        terminal.note(f"would {verb} {', '.join(asked['devices'])}")
        return
    answer = call_server(url, data_dir, lambda api: api.post(f"/corral/v1/slots/{verb}", asked))
    if as_json:
        terminal.put_json(answer)
        return
    for device in answer["devices"]:
        terminal.put(f"{device['id']}: {_format_yield(device) or 'takes tasks'}")


def _change_gates(
    slots: Sequence[str],
    verb: Literal["pause", "resume", "drain"],
    *,
    url: str | None,
    data_dir: Path | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Ask the server to change gates, and print how they are now. Raises: NoServerError, RemoteError."""
    if dry_run:
        terminal.note(f"would {verb} {', '.join(slots)}")
        return
    asked = {"slots": list(slots)}
    answer = call_server(url, data_dir, lambda api: api.post(f"/corral/v1/slots/{verb}", asked))
    if as_json:
        terminal.put_json(answer)
        return
    for slot in answer["items"]:
        terminal.put(f"{slot['id']}: {format_gate(slot)}")


def _put_slots(answer: Json) -> None:
    devices = [
        (
            device["id"],
            device["model"],
            _format_size(device["memory"]),
            _format_size(device["capacity"]),
            _format_others(device),
        )
        for device in answer["devices"]
    ]
    columns = ("device", "model", "memory", "for tasks", "other programs")
    terminal.put_table(columns, devices, empty="no devices", expendable=("other programs",))
    if devices:
        terminal.put("")
    columns = ("slot", "gate", "in memory", "task", "ends", "held by")
    rows = [_make_row(slot) for slot in answer["items"]]
    terminal.put_table(columns, rows, empty="no slots", expendable=("ends", "in memory", "held by"))
    if guests := answer.get("guests"):  # an earlier server has none
        terminal.put("")
        columns = ("guest", "owner", "slot", "goes after", "waits")
        terminal.put_table(columns, map(_make_guest_row, guests), empty="")
    for device in answer["devices"]:
        for note in filter(None, (_format_yield(device), device.get("blind"))):
            terminal.note(f"{device['id']}: {note}")
    for slot in answer["items"]:
        for note in _list_notes(slot):
            terminal.note(f"{slot['id']}: {note}")


def _format_yield(device: Json) -> str:
    """Say who has a device: `yields to: game.x86_64 (9.8 GiB) since 19:02`; empty where tasks can."""
    given = device.get("yields")  # a server of an earlier version does not report it
    if not given:
        return ""
    until = f" until {format_clock(given['until'])}" if given["until"] else ""
    return f"yields to: {given['to']} since {format_clock(given['since'])}{until}"


def _format_others(device: Json) -> str:
    programs: Json = device.get("programs") or []
    names = [
        program["name"] + (f" ({format_bytes(program['memory'])})" if program["memory"] else "") for program in programs
    ]
    return list_some(names, most=2)


def _list_notes(slot: Json) -> Iterator[str]:
    if slot["problem"]:
        yield slot["problem"]
    if place := slot.get("computes_on"):  # a server of an earlier version does not report it
        yield f"computes on {place}"
    if caution := slot.get("caution"):
        yield caution


def _make_row(slot: Json) -> tuple[object, ...]:
    running: Json = slot["running"] or {}
    held: Json = slot["held"] or {}
    by = f"{held['label']} of {held['owner']}" if held and held["owner"] else held.get("label")
    models = ", ".join(_format_model(model) for model in slot["resident"])
    return (slot["id"], format_gate(slot), models, format_tasks(slot), _format_end(running), by)


def format_tasks(slot: Json) -> str:
    """Print what a slot works on: `12, 15, guest (3 of 4 lanes)`."""
    running: Json = slot["running"]
    tasks: Json = slot.get("tasks") or ([running] if running else [])  # a server of an earlier version has no lanes
    names = ", ".join("guest" if task["task"] is None else str(task["task"]) for task in tasks)
    lanes = slot.get("lanes", 1)
    return f"{names} ({len(tasks)} of {lanes} lanes)" if tasks and lanes > 1 else names


def _make_guest_row(guest: Json) -> tuple[object, ...]:
    expected = "" if guest["expected_s"] is None else f"{format_duration(guest['expected_s'])} more: "
    return guest["label"], guest["owner"], guest["slot"], guest["ahead"], f"{expected}{guest['because']}"


def format_gate(slot: Json) -> str:
    """Print whether a slot takes tasks, and from or until when."""
    if slot["gate"] == "open" and slot["problem"]:
        return "does not work"
    if slot["gate"] == "open" and slot.get("opens_at"):  # a server of an earlier version knows no hours
        return f"opens {format_clock(slot['opens_at'])}"
    if slot["gate"] == "open" and slot.get("closes_at"):
        return f"open until {format_clock(slot['closes_at'])}"
    return slot["gate"] + (f" ({slot['gate_reason']})" if slot["gate_reason"] else "")


def _format_model(model: Json) -> str:
    return model["model"] + (f" ({format_bytes(model['memory'])})" if model["memory"] else "")


def _format_size(size: int | None) -> str:
    return "unknown" if size is None else format_bytes(size)


def _format_end(running: Json) -> str:
    """Say when a slot's task is expected to end, by how long those before it took."""
    said = format_ago(running.get("expected_end"))
    return "takes longer than usual" if said.endswith(" ago") else said
