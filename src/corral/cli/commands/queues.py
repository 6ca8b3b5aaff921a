"""`corral queues`: where tasks wait."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import quote

from corral.cli import terminal
from corral.cli.listing import format_states
from corral.cli.options import AsJson, DataDir, DryRun, QueueName, Url, Yes, make_example, make_group
from corral.client.connection import call_server

NAME = "queues"
app = make_group("List queues, and pause, resume or drain them.", example_command="corral queues list")


@app.command("list", epilog=make_example("corral queues list"))
def list_(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List queues with their slots, their order and their tasks."""
    answer = call_server(url, data_dir, lambda api: api.get("/corral/v1/queues"))
    if as_json:
        terminal.put_json(answer)
        return
    rows = [
        (
            queue["name"],
            queue["order"],
            ", ".join(queue.get("pool") or ()) or "every slot",
            queue["gate"],
            format_states(queue["states"]),
        )
        for queue in answer["items"]
    ]
    terminal.put_table(
        ("queue", "order", "pool", "gate", "tasks"), rows, empty="no queues", expendable=("order", "pool")
    )


@app.command("pause", epilog=make_example("corral queues pause default"))
def pause(
    queue: QueueName, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Start no task of a queue; new ones are still accepted.

    Running ones go on.
    """
    _change_gate(queue, "pause", url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


@app.command("resume", epilog=make_example("corral queues resume default"))
def resume(
    queue: QueueName, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Start tasks from a queue again."""
    _change_gate(queue, "resume", url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


@app.command("drain", epilog=make_example("corral queues drain default --yes"))
def drain(
    queue: QueueName,
    yes: Yes = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Empty a queue: accept no new tasks, and work off those in it."""
    if not dry_run:
        terminal.confirm(f"drain the queue {queue}?", agreed=yes)
    _change_gate(queue, "drain", url=url, data_dir=data_dir, as_json=as_json, dry_run=dry_run)


def _change_gate(
    queue: str,
    verb: Literal["pause", "resume", "drain"],
    *,
    url: str | None,
    data_dir: Path | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Ask the server to change a queue's gate, and print how it is now. Raises: NoServerError, RemoteError."""
    if dry_run:
        terminal.note(f"would {verb} the queue {queue}")
        return
    answer = call_server(url, data_dir, lambda api: api.post(f"/corral/v1/queues/{quote(queue)}/{verb}"))
    if as_json:
        terminal.put_json(answer)
    else:
        terminal.put(f"queue {queue}: {answer['gate']}")
