"""`corral batches`: tasks that were submitted together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.cli.options import AsJson, BatchId, DataDir, DryRun, Limit, Url, Yes, example, noun
from corral.client.connection import ask

if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.work import Json

NAME = "batches"
app = noun("Look at batches, and steer them.", example_command="corral batches list")


@app.command("list", epilog=example("corral batches list"))
def list_(limit: Limit = 50, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List batches, the newest first."""
    from corral.cli.listing import put_batches

    put_batches(ask(url, data_dir, lambda api: api.items("/corral/v1/batches", [], limit=limit)), as_json=as_json)


@app.command("show", epilog=example("corral batches show 3"))
def show(batch: BatchId, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one batch and its tasks."""
    from corral.cli.listing import put_batches, put_tasks

    async def use(api: Api) -> tuple[Json, list[Json]]:
        found = await api.get(f"/corral/v1/batches/{batch}")
        return found, await api.items("/corral/v1/tasks", [("batch", batch), ("order", "oldest")])

    found, tasks = ask(url, data_dir, use)
    if as_json:
        terminal.put_json({**found, "tasks": tasks})
        return
    put_batches([found], as_json=False)
    terminal.put("")
    put_tasks(tasks, as_json=False)


@app.command("cancel", epilog=example("corral batches cancel 3 --yes"))
def cancel(
    batch: BatchId,
    yes: Yes = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Cancel every task of a batch that has not ended."""
    from corral.cli.listing import states_text

    async def use(api: Api) -> Json:
        found = await api.get(f"/corral/v1/batches/{batch}")
        open_count = sum(n for state, n in found["states"].items() if state not in ("succeeded", "failed", "cancelled"))
        if dry_run:
            terminal.say(
                f"{terminal.counted(open_count, 'task')} of batch {batch}, {found['name']}, would be cancelled"
            )
            return found
        terminal.confirm(
            f"cancel {terminal.counted(open_count, 'task')} of batch {batch}, {found['name']}?", agreed=yes
        )
        return await api.post(f"/corral/v1/batches/{batch}/cancel")

    found = ask(url, data_dir, use)
    if as_json:
        terminal.put_json(found)
    else:
        terminal.put(f"batch {found['id']}, {found['name']}: {states_text(found['states'])}")


@app.command("retry", epilog=example("corral batches retry 3"))
def retry(
    batch: BatchId, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Submit the failed and cancelled tasks of a batch again, as a new batch."""

    async def use(api: Api) -> Json:
        if dry_run:
            found = await api.get(f"/corral/v1/batches/{batch}")
            count = found["states"].get("failed", 0) + found["states"].get("cancelled", 0)
            terminal.say(
                f"{terminal.counted(count, 'task')} of batch {batch}, {found['name']}, would be submitted again"
            )
            return {"batch": found, "tasks": []}
        return await api.post(f"/corral/v1/batches/{batch}/retry")

    answer = ask(url, data_dir, use)
    if as_json:
        terminal.put_json(answer)
    elif not dry_run:
        made = answer["batch"]
        terminal.put(
            f"batch {made['id']}, {made['name']}: {terminal.counted(made['task_count'], 'task')} of batch {batch} again"
        )
