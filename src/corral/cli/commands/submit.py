"""`corral submit`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from corral.cli import exits, terminal
from corral.cli.options import AsJson, BatchFile, DataDir, DryRun, Url, make_example

if TYPE_CHECKING:
    from corral.client.api import Api

Wait = Annotated[
    bool, typer.Option("--wait", help="Wait until every task has ended; the exit code is 1 if one failed.")
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="KEY", help="Submit with this idempotency key: a batch with the same key is accepted once."
    ),
]


Node = Annotated[
    str | None, typer.Option("--node", metavar="NODE", help="Run every task on this node, whatever the file says.")
]
PreferNode = Annotated[
    str | None,
    typer.Option(
        "--prefer-node",
        metavar="NODE",
        help="Prefer this node for every task, where that makes it end two minutes later at most.",
    ),
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="TIME",
        help="When it should be done: `07:00`, or an instant, `2026-12-24T07:00:00+01:00`; the answer says whether "
        "it will.",
    ),
]


Webhook = Annotated[
    str | None,
    typer.Option(
        "--webhook", metavar="URL", help="Send this URL a signed request for each failed task and at the end."
    ),
]
Notify = Annotated[
    list[str] | None,
    typer.Option("--notify", metavar="NAME", help="Notify this entry of the cluster file's `notify` (repeatable)."),
]
When = Annotated[
    Literal["cheap"] | None,
    typer.Option("--when", help="`cheap`: wait for the hours of the lowest price of power, as far as `--by` allows."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("submit", epilog=make_example("corral submit examples/first-batch.yaml --wait"))(submit)


def submit(
    file: BatchFile,
    wait: Wait = False,
    key: Key = None,
    node: Node = None,
    prefer_node: PreferNode = None,
    webhook: Webhook = None,
    notify: Notify = None,
    by: By = None,
    when: When = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Submit a batch to a running server: all of it or nothing."""
    from corral.batchfile.reading import open_batch_file
    from corral.cli.listing import describe_deadline, put_batch_file, put_caution
    from corral.client.connection import call_server
    from corral.client.converting import make_converter
    from corral.client.following import wait_for_batch
    from corral.client.submitting import submit as send
    from corral.client.submitting import upload_files

    read = open_batch_file(file, make_converter(url, data_dir, terminal.note))
    if node is not None or prefer_node is not None:
        read = replace(read, batch=read.batch.with_everywhere({"node": node, "prefer_node": prefer_node}))
    read = replace(read, batch=read.batch.with_receivers(webhook, notify or ()))
    timing = {key: value for key, value in (("by", by), ("when", when)) if value is not None}
    read = replace(read, batch=replace(read.batch, body={**read.batch.body, **timing}))
    if dry_run:
        put_batch_file(read.batch, key=key, as_json=as_json)
        return

    async def use(api: Api) -> int:
        answer = await send(api, read, read.batch.request(await upload_files(api, read.batch)), key=key)
        batch = answer["batch"]
        if not as_json:
            terminal.put(f"batch {batch['id']}, {batch['name']}: {terminal.format_count(batch['task_count'], 'task')}")
            if deadline := describe_deadline(batch):
                terminal.put(deadline)
            put_caution(answer)
        ended = await wait_for_batch(api, batch["id"]) if wait else batch
        if as_json:
            terminal.put_json({**answer, "batch": ended})
        succeeded = ended["states"].get("succeeded", 0) == ended["task_count"]
        return exits.TASKS_FAILED if wait and not succeeded else 0

    raise typer.Exit(call_server(url, data_dir, use))
