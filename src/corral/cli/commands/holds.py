"""`corral holds`: GPUs that programs have, or wait for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from corral.cli import terminal
from corral.cli.listing import format_ago
from corral.cli.options import AsJson, DataDir, DryRun, Url, make_example, make_group
from corral.client.connection import call_server
from corral.errors import CorralError, Kind
from corral.units import format_bytes

if TYPE_CHECKING:
    from corral.work import Json

NAME = "holds"
HOLDS = "/corral/v1/holds"
GRACE_S = 20
"""Seconds for the program to stop: its keeper asks every 5 s, and gives it 10 s."""
app = make_group("List GPUs that programs hold, and take them back.", example_command="corral holds list")

HoldId = Annotated[int, typer.Argument(metavar="HOLD", help="The hold's number, which is that of its task.", min=1)]
Grace = Annotated[
    int,
    typer.Option("--grace", metavar="SECONDS", min=0, max=300, help="Give its program so many seconds to stop."),
]


class NoHoldLogError(CorralError):
    """There is no log of a hold in this data directory."""

    code: ClassVar[str] = "hold.no_log"
    kind: ClassVar[Kind] = Kind.MISSING


@app.command("list", epilog=make_example("corral holds list"))
def list_(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the holds that have not ended, the oldest first."""
    answer = call_server(url, data_dir, lambda api: api.get(HOLDS))
    if as_json:
        terminal.put_json(answer)
        return
    _put_holds(answer["items"])


@app.command("show", epilog=make_example("corral holds show 7"))
def show(hold: HoldId, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print why a hold waits, or the GPUs of its program."""
    answer = call_server(url, data_dir, lambda api: api.get(f"{HOLDS}/{hold}"))
    if as_json:
        terminal.put_json(answer)
        return
    _put_hold(answer)


@app.command("release", epilog=make_example("corral holds release 7"))
def release(
    hold: HoldId,
    grace: Grace = GRACE_S,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Take GPUs back, after the program has had time to stop."""
    if dry_run:
        terminal.note(f"would take back hold {hold} after {grace} s")
        return
    answer = call_server(url, data_dir, lambda api: api.delete(f"{HOLDS}/{hold}", {"grace": grace}))
    if as_json:
        terminal.put_json(answer)
        return
    terminal.put(f"hold {hold}: {answer['state']}")


@app.command("logs", epilog=make_example("corral holds logs 7"))
def logs(hold: HoldId, data_dir: DataDir = None) -> None:
    """Print what the program of `corral hold --detach` has printed."""
    from corral.cli.commands.hold import name_log
    from corral.data_dir import choose_data_dir

    log = name_log(choose_data_dir(data_dir), hold)
    if not log.is_file():
        hint = "only `corral hold --detach` writes one, on the machine where it was typed"
        raise NoHoldLogError(f"there is no log of hold {hold}", where=str(log), hint=hint)
    with log.open("rb") as file:
        while chunk := file.read(65536):
            sys.stdout.buffer.write(chunk)
    sys.stdout.flush()


def _put_holds(holds: Sequence[Json]) -> None:
    rows = [
        (
            hold["id"],
            hold["program"],
            hold["owner"],
            hold["state"],
            ", ".join(device["device"] for device in hold["devices"]),
            "all" if hold["memory"] is None else format_bytes(hold["memory"]),
            format_ago(hold["granted_at"] or hold["created_at"]),
            format_ago(hold["ends_at"]),
        )
        for hold in holds
    ]
    columns = ("hold", "program", "owner", "state", "on", "memory", "since", "ends")
    terminal.put_table(columns, rows, empty="no holds", expendable=("memory", "ends", "owner"))


def _put_hold(hold: Json) -> None:
    from corral.cli.lending import describe_start, describe_wait
    from corral.client.holding import describe_loss

    match hold["state"]:
        case "waiting" | "starting":
            terminal.put_text(describe_wait(hold))
        case "granted":
            terminal.put_text(describe_start(hold))
        case _:
            terminal.put_text(describe_loss(hold))
    terminal.put("")
    fields = [(name, hold[name]) for name in ("id", "program", "owner", "state", "queue", "class", "priority", "gpus")]
    fields += [
        ("memory", "all" if hold["memory"] is None else format_bytes(hold["memory"])),
        ("granted", format_ago(hold["granted_at"])),
        ("ended", format_ago(hold["ended_at"])) if hold["ended_at"] else ("ends", format_ago(hold["ends_at"])),
        ("taken back", f"{format_ago(hold['expires_at'])}, unless renewed" if hold["expires_at"] else ""),
    ]
    terminal.put_fields([*fields, *hold["environment"].items()])
