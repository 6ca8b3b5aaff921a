"""`corral batches`: tasks that were submitted together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, BatchId, DataDir, DryRun, Limit, Out, Url, Yes, make_example, make_group
from corral.client.connection import call_server

if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.work import Json

NAME = "batches"
Wait = Annotated[bool, typer.Option("--wait", help="Fetch outputs as tasks end, until all have ended.")]
app = make_group("List, show, fetch, cancel and retry batches.", example_command="corral batches list")


@app.command("list", epilog=make_example("corral batches list"))
def list_(limit: Limit = 50, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List batches, the newest first."""
    from corral.cli.listing import put_batches

    page = call_server(url, data_dir, lambda api: api.read_page("/corral/v1/batches", [], limit=limit))
    if as_json:
        terminal.put_json(page)
    else:
        put_batches(page["items"], as_json=False)


@app.command("show", epilog=make_example("corral batches show 3"))
def show(batch: BatchId, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one batch and its tasks."""
    from corral.cli.listing import describe_deadline, put_batches, put_deliveries, put_tasks

    async def use(api: Api) -> tuple[Json, list[Json]]:
        shown = await api.get(f"/corral/v1/batches/{batch}")
        return shown, await api.read_list("/corral/v1/tasks", [("batch", batch), ("order", "oldest")])

    shown, tasks = call_server(url, data_dir, use)
    if as_json:
        terminal.put_json({**shown, "tasks": tasks})
        return
    put_batches([shown], as_json=False)
    if deadline := describe_deadline(shown):
        terminal.put(deadline)
    put_deliveries(shown["deliveries"])
    terminal.put("")
    put_tasks(tasks, as_json=False)


@app.command("fetch", epilog=make_example("corral batches fetch 3"))
def fetch(
    batch: BatchId,
    out: Out = Path("out"),
    wait: Wait = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write a batch's outputs into a folder, with a manifest.

    The folder has the batch's name, and what is there already is kept. Every file is checked by its SHA-256. A
    download that broke off goes on where it was. Where the folder is another batch's, the name gets the batch's
    number.
    """
    from corral.cli.listing import put_fetched
    from corral.client.fetching import fetch_batch

    put_fetched([call_server(url, data_dir, lambda api: fetch_batch(api, batch, out, wait=wait))], as_json=as_json)


@app.command("cancel", epilog=make_example("corral batches cancel 3 --yes"))
def cancel(
    batch: BatchId,
    yes: Yes = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Cancel every task of a batch that has not ended."""
    from corral.cli.listing import format_states

    async def use(api: Api) -> Json:
        cancelled = await api.get(f"/corral/v1/batches/{batch}")
        open_count = sum(
            n for state, n in cancelled["states"].items() if state not in ("succeeded", "failed", "cancelled")
        )
        if dry_run:
            terminal.note(
                f"{terminal.format_count(open_count, 'task')} of batch {batch}, {cancelled['name']}, would be cancelled"
            )
            return cancelled
        terminal.confirm(
            f"cancel {terminal.format_count(open_count, 'task')} of batch {batch}, {cancelled['name']}?", agreed=yes
        )
        return await api.post(f"/corral/v1/batches/{batch}/cancel")

    cancelled = call_server(url, data_dir, use)
    if as_json:
        terminal.put_json(cancelled)
    else:
        terminal.put(f"batch {cancelled['id']}, {cancelled['name']}: {format_states(cancelled['states'])}")


@app.command("retry", epilog=make_example("corral batches retry 3"))
def retry(
    batch: BatchId, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Submit a batch's failed and cancelled tasks as a new batch."""

    async def use(api: Api) -> Json:
        if dry_run:
            batch_before = await api.get(f"/corral/v1/batches/{batch}")
            count = batch_before["states"].get("failed", 0) + batch_before["states"].get("cancelled", 0)
            tasks = terminal.format_count(count, "task")
            terminal.note(f"{tasks} of batch {batch}, {batch_before['name']}, would be submitted again")
            return {"batch": batch_before, "tasks": []}
        return await api.post(f"/corral/v1/batches/{batch}/retry")

    answer = call_server(url, data_dir, use)
    if as_json:
        terminal.put_json(answer)
    elif not dry_run:
        retry_batch = answer["batch"]
        count = terminal.format_count(retry_batch["task_count"], "task")
        terminal.put(f"batch {retry_batch['id']}, {retry_batch['name']}: {count} of batch {batch} again")
