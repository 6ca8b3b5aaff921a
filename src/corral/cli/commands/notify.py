"""`corral notify`: who gets word of what ends and fails."""

from __future__ import annotations

from typing import Annotated

import typer

from corral.cli import terminal
from corral.cli.listing import format_ago
from corral.cli.options import AsJson, DataDir, Url, make_example, make_group
from corral.client.connection import call_server

NAME = "notify"
NOT_SENT = 6
"""The exit code of what is unavailable."""
app = make_group("List who gets word of what ends and fails, and try them.", example_command="corral notify list")

Receiver = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Try this receiver only.", show_default=False)]


@app.command("list", epilog=make_example("corral notify list"))
def list_(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List receivers, with their waiting messages and the last problem.

    They are `notify` and `webhooks` of the cluster file, and the webhooks of batches.
    """
    listed = call_server(url, data_dir, lambda api: api.get("/corral/v1/notifications"))
    if as_json:
        terminal.put_json(listed)
        return
    rows = [
        (
            receiver["name"],
            receiver["channel"].replace("_", " "),
            ", ".join(receiver["when"]),
            receiver["pending"],
            "" if receiver["sent_at"] is None else format_ago(receiver["sent_at"]),
            receiver["given_up"] or "",
            receiver["problem"] if receiver["pending"] or receiver["given_up"] else "",
        )
        for receiver in listed["items"]
    ]
    columns = ("receiver", "by", "when", "waiting", "last sent", "given up", "problem")
    terminal.put_table(
        columns, rows, empty="no receivers: add `notify` or `webhooks` to the cluster file", expendable=("when",)
    )


@app.command("test", epilog=make_example("corral notify test phone"))
def try_now(name: Receiver = None, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Send a message to each receiver now, or to one.

    The exit code is 6 when one of them did not take it.
    """
    tested = call_server(url, data_dir, lambda api: api.post("/corral/v1/notifications/test", {"name": name}))
    if as_json:
        terminal.put_json(tested)
    else:
        for receiver in tested["items"]:
            problem = receiver["problem"]
            terminal.put(f"{receiver['name']}: {'sent' if problem is None else f'not sent: {problem}'}")
            if receiver["hint"] is not None:
                terminal.note(f"hint: {receiver['hint']}")
    if any(receiver["problem"] is not None for receiver in tested["items"]):
        raise typer.Exit(NOT_SENT)
