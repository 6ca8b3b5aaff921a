"""`corral slots`: the places where tasks run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from corral.cli import terminal
from corral.cli.listing import ago
from corral.cli.options import AsJson, DataDir, DryRun, SlotName, Url, Yes, example, noun
from corral.client.connection import ask
from corral.work import Json

NAME = "slots"
app = noun("Look at slots, and open or close them.", example_command="corral slots list")


@app.command("list", epilog=example("corral slots list"))
def list_(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List slots: what they are, what they hold, what runs on them."""
    answer = ask(url, data_dir, lambda api: api.get("/corral/v1/slots"))
    if as_json:
        terminal.put_json(answer)
        return
    columns = ("slot", "device", "gate", "engines", "resident", "task", "ends")
    terminal.put_table(columns, [_row(slot) for slot in answer["items"]], empty="no slots")
    for slot in answer["items"]:
        problems: dict[str, str] = slot.get("engine_problems") or {}
        for engine, problem in problems.items():
            terminal.say(f"{slot['id']}: {engine}: {problem}")


@app.command("pause", epilog=example("corral slots pause node/gpu0"))
def pause(
    slot: SlotName, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Give a slot no new tasks; what runs on it goes on."""
    change_gate("slots", slot, "pause", url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


@app.command("resume", epilog=example("corral slots resume node/gpu0"))
def resume(
    slot: SlotName, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Give a slot tasks again."""
    change_gate("slots", slot, "resume", url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


@app.command("drain", epilog=example("corral slots drain node/gpu0 --yes"))
def drain(
    slot: SlotName,
    yes: Yes = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Empty a slot: no new tasks, and its models are given up once it is free."""
    if not dry_run:
        terminal.confirm(f"drain the slot {slot}?", agreed=yes)
    change_gate("slots", slot, "drain", url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


def _row(slot: Json) -> tuple[object, ...]:
    running: Json = slot.get("running") or {}
    problems: Json = slot.get("engine_problems") or {}
    usable = [engine for engine in slot["engines"] if engine not in problems]
    gate = slot["gate"] + (f" ({slot['gate_reason']})" if slot.get("gate_reason") else "")
    device = slot.get("device_model") or slot.get("device")
    resident = ", ".join(one if isinstance(one, str) else one["model"] for one in slot.get("resident") or ())
    return (
        slot["id"], device, gate, ", ".join(usable), resident, running.get("task"), _end(running)
    )  # fmt: skip


def _end(running: Json) -> str:
    """Say when a slot's task is expected to end; one that takes longer than those before it is overdue."""
    said = ago(running.get("expected_end"))
    return "overdue" if said.endswith(" ago") else said


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
        terminal.say(f"would {verb} the {_SINGULAR[kind]} {name}")
        return

    async def use(api: Api) -> Json:
        return await api.post(f"/corral/v1/{kind}/{quote(name)}/{verb}")

    answer = ask(url, data_dir, use)
    if as_json:
        terminal.put_json(answer)
    else:
        terminal.put(f"{_SINGULAR[kind]} {name}: {answer['gate']}")
