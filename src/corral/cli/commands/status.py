"""`corral status`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.clusters import Context, LayoutName
from corral.cli.listing import format_ago, format_clock
from corral.cli.options import AsJson, DataDir, Url, Verbose, make_example
from corral.client.connection import NoServerError, call_server
from corral.errors import CorralError
from corral.units import format_bytes
from corral.work import Json

if TYPE_CHECKING:
    from corral.operations.deploying.looking import ServicesOnCluster

USUAL_NAME = "cluster.yaml"
ClusterWithServices = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        "-c",
        metavar="FILE",
        help="Print the services of this file on its Kubernetes. Default: `cluster.yaml` here, if it has one.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What there is room for; None is without a limit."""

    alarms: int | None = None
    queues: int | None = None
    slots: int | None = None
    alarm_width: int | None = None
    """In characters, as those below."""
    slot_width: int | None = None
    task_width: int | None = None
    progress_width: int | None = None


EVERYTHING = Screen()
ONE_SCREEN = Screen(alarms=4, queues=6, slots=12, alarm_width=155, slot_width=24, task_width=22, progress_width=14)
"""Fits 40 lines of 80 columns."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status", epilog=make_example("corral status"))(status)


def status(
    url: Url = None,
    data_dir: DataDir = None,
    cluster: ClusterWithServices = None,
    layout: LayoutName = None,
    context: Context = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Print the queue, the slots and what needs you, on one screen.

    With a cluster file that has `kubernetes:`, it begins with the services there: wanted, there, ready, where, why not.
    """
    services = _find_services(cluster, context, layout)
    if services is not None and not as_json:
        from corral.cli.services_on_cluster import put_services

        put_services(services)
        terminal.put("")
    try:
        answer = call_server(url, data_dir, lambda api: api.get("/corral/v1/status"))
    except NoServerError as error:
        if services is None:
            raise
        answer = None
        if not as_json:
            terminal.note(f"queue: {error.what}")
    if as_json:
        from corral.wire import to_json

        there = {} if services is None else {"cluster": to_json(services)}
        terminal.put_json({**(answer or {}), **there})
    elif answer is not None:
        _put_server(answer, verbose=verbose)


def _find_services(path: Path | None, context: str | None, layout: str | None) -> ServicesOnCluster | None:
    """Find the services of a cluster file that was named, or is here; None without one, or without Kubernetes.

    Where no file was named, the queue is printed also when the cluster does not answer.
    """
    if path is None and not Path(USUAL_NAME).is_file():
        return None
    from corral.cli.services_on_cluster import look_at_services_of

    if path is not None:
        return look_at_services_of(path, context, layout)
    try:
        return look_at_services_of(Path(USUAL_NAME), context, layout)
    except CorralError as error:
        terminal.note(f"cluster: {error.what}")
        return None


def _put_server(answer: Json, *, verbose: bool) -> None:
    screen = ONE_SCREEN if terminal.count_columns() is not None and not verbose else EVERYTHING
    lines = [("server", _describe_server(answer)), ("queue", _describe_work(answer))]
    if deadlines := _describe_deadlines(answer):
        lines.append(("due", deadlines))
    if hours := _describe_hours(answer["slots"]):
        lines.append(("hours", hours))
    terminal.put_fields(lines)
    _put_alarms(answer["alarms"], screen)
    terminal.put("")
    _put_queues(answer["queues"], screen)
    terminal.put("")
    _put_slots(answer["slots"], screen)


def _describe_server(answer: Json) -> str:
    up = format_ago(answer["started_at"]).removesuffix(" ago")
    return ", ".join(
        (
            f"{answer['name']} {'leads' if answer['leading'] else 'stands by'}",
            f"up {up}",
            f"corral {answer['version']}",
            f"database {format_bytes(answer['database_bytes'])}",
            f"disk {format_bytes(answer['disk']['free'])} free",
            *(() if answer.get("trusts_loopback", True) else ("asks for a token on loopback, too",)),
        )
    )


def _describe_work(answer: Json) -> str:
    if not answer["waiting"] and not answer["running"]:
        return "empty"
    parts = [f"{answer['waiting']} waiting", f"{answer['running']} running"]
    if answer["oldest_at"]:
        parts.append(f"longest wait {format_ago(answer['oldest_at']).removesuffix(' ago')}")
    end = format_ago(answer["expected_end"])
    parts.append("end unknown" if not end else f"done {end} at the earliest" if end.startswith("in ") else "done soon")
    return ", ".join(parts)


def _describe_deadlines(answer: Json) -> str:
    """Print the batches with a deadline; a server of an earlier version knows none."""
    return ", ".join(
        f"batch {deadline['batch']} by {format_clock(deadline['by'], zone=deadline.get('time_zone'))} "
        + deadline["verdict"].replace("_", " ")
        for deadline in answer.get("deadlines", ())
    )


def _describe_hours(slots: Sequence[Json]) -> str:
    """Print until when devices are open, or closed; a server of an earlier version knows no hours."""
    devices = {"/".join(slot["id"].split("/")[:2]): slot for slot in slots}
    return ", ".join(
        f"{device} opens {format_clock(slot['opens_at'])}"
        if slot["opens_at"]
        else f"{device} until {format_clock(slot['closes_at'])}"
        for device, slot in sorted(devices.items())
        if slot.get("opens_at") or slot.get("closes_at")
    )


def _put_alarms(alarms: Sequence[Json], screen: Screen) -> None:
    for alarm in alarms[: screen.alarms]:
        terminal.put_text(_cut(f"alarm   {alarm['what']}; {alarm['hint']}", screen.alarm_width))
    if screen.alarms is not None and len(alarms) > screen.alarms:
        terminal.put(f"... and {terminal.format_count(len(alarms) - screen.alarms, 'more alarm')}: -v")


def _put_queues(queues: Sequence[Json], screen: Screen) -> None:
    rows = [
        (
            queue["name"],
            queue["gate"],
            queue["waiting"],
            queue["running"],
            format_ago(queue["oldest_at"]).removesuffix(" ago"),
        )
        for queue in sorted(queues, key=lambda queue: -(queue["waiting"] + queue["running"]))
    ]
    columns = ("queue", "gate", "waiting", "running", "longest wait")
    terminal.put_table(columns, rows, empty="no queues", most=screen.queues)


def _put_slots(slots: Sequence[Json], screen: Screen) -> None:
    rows = [
        (
            _cut(slot["id"], screen.slot_width),
            _cut(_describe_slot(slot), screen.task_width),
            _cut(_describe_progress(slot["task"]), screen.progress_width),
            _find_end(slot),
        )
        for slot in slots
    ]
    columns = ("slot", "task", "progress", "ends")
    terminal.put_table(columns, rows, empty="no slots", most=screen.slots, expendable=("ends",))


def _describe_slot(slot: Json) -> str:
    task = slot["task"]
    if task is not None:
        batch = f", batch {task['batch']}" if task["batch"] else ""
        others = f" and {slot['lanes_taken'] - 1} more" if slot.get("lanes_taken", 1) > 1 else ""
        return f"{'' if task['id'] is None else task['id']} {task['name'] or ''}{batch}{others}".strip()
    if slot["problem"]:
        return "does not work"
    if slot["gate"] != "open":
        return slot["gate"]
    if slot.get("opens_at"):  # a server of an earlier version knows no hours
        return f"opens {format_clock(slot['opens_at'])}"
    return f"idle, has {', '.join(slot['resident'])}" if slot["resident"] else "idle"


def _describe_progress(task: Json) -> str:
    if task is None:
        return ""
    if task["fraction"] is None:
        return task["note"] or f"for {format_ago(task['started_at']).removesuffix(' ago')}"
    return f"{task['fraction']:.0%} {task['note']}".strip()


def _find_end(slot: Json) -> str:
    end = format_ago(slot["task"] and slot["task"]["expected_end"])
    return "late" if end.endswith(" ago") else end


def _cut(text: str, most: int | None) -> str:
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"
