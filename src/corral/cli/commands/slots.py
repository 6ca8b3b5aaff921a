"""`corral slots`: where tasks run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from corral.cli import terminal
from corral.cli.listing import format_ago
from corral.cli.options import AsJson, DataDir, DryRun, SlotName, Url, Yes, make_example, make_group
from corral.client.connection import call_server
from corral.work import Json

NAME = "slots"
app = make_group("List slots, and pause, resume or drain them.", example_command="corral slots list")


@app.command("list", epilog=make_example("corral slots list"))
def list_(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List slots with their device, their models and their task."""
    answer = call_server(url, data_dir, lambda api: api.get("/corral/v1/slots"))
    if as_json:
        terminal.put_json(answer)
        return
    columns = ("slot", "device", "gate", "engines", "resident", "task", "ends")
    rows = [_make_row(slot) for slot in answer["items"]]
    terminal.put_table(columns, rows, empty="no slots", expendable=("engines", "device", "resident"))
    for slot in answer["items"]:
        problems: dict[str, str] = slot.get("engine_problems") or {}
        for engine, problem in problems.items():
            terminal.note(f"{slot['id']}: {engine}: {problem}")


@app.command("pause", epilog=make_example("corral slots pause node/gpu0"))
def pause(
    slot: SlotName, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Give a slot no new tasks; its running task goes on."""
    change_gate("slots", slot, "pause", url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


@app.command("resume", epilog=make_example("corral slots resume node/gpu0"))
def resume(
    slot: SlotName, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Give a slot tasks again."""
    change_gate("slots", slot, "resume", url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


@app.command("drain", epilog=make_example("corral slots drain node/gpu0 --yes"))
def drain(
    slot: SlotName,
    yes: Yes = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Empty a slot: give it no new tasks, and unload its models once it is free."""
    if not dry_run:
        terminal.confirm(f"drain the slot {slot}?", agreed=yes)
    change_gate("slots", slot, "drain", url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


def _make_row(slot: Json) -> tuple[object, ...]:
    running: Json = slot.get("running") or {}
    problems: Json = slot.get("engine_problems") or {}
    usable = [engine for engine in slot["engines"] if engine not in problems]
    gate = slot["gate"] + (f" ({slot['gate_reason']})" if slot.get("gate_reason") else "")
    device = slot.get("device_model") or slot.get("device")
    resident = ", ".join(model if isinstance(model, str) else model["model"] for model in slot.get("resident") or ())
    return (
        slot["id"], device, gate, ", ".join(usable), resident, running.get("task"), _format_end(running)
    )  # fmt: skip


def _format_end(running: Json) -> str:
    """Say when a slot's task is expected to end, by how long those before it took."""
    said = format_ago(running.get("expected_end"))
    return "takes longer than usual" if said.endswith(" ago") else said


if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.work import Json

_SINGULAR = {"slots": "slot", "queues": "queue"}


def change_gate(
    kind: Literal["slots", "queues"],
    name: str,
    verb: Literal["pause", "resume", "drain"],
    *,
    url: str | None,
    data_dir: Path | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Ask the server to change a gate, and say how it is now. Raises: NoServerError, RemoteError."""
    if dry_run:
        terminal.note(f"would {verb} the {_SINGULAR[kind]} {name}")
        return

    async def use(api: Api) -> Json:
        return await api.post(f"/corral/v1/{kind}/{quote(name)}/{verb}")

    answer = call_server(url, data_dir, use)
    if as_json:
        terminal.put_json(answer)
    else:
        terminal.put(f"{_SINGULAR[kind]} {name}: {answer['gate']}")
