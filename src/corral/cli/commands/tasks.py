"""`corral tasks`: one unit of work each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, DryRun, Limit, TaskId, TaskIds, Url, make_example, make_group
from corral.client.connection import call_server

if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.work import Json

NAME = "tasks"
app = make_group(
    "List, follow, explain, fetch, cancel, retry and order tasks.", example_command="corral tasks list --state running"
)

States = Annotated[
    list[str] | None, typer.Option("--state", "-s", metavar="STATE", help="List only tasks in this state (repeatable).")
]
OfBatch = Annotated[int | None, typer.Option("--batch", "-b", metavar="BATCH", help="List only tasks of this batch.")]
OfQueue = Annotated[str | None, typer.Option("--queue", "-q", metavar="QUEUE", help="List only tasks of this queue.")]
OfOwner = Annotated[str | None, typer.Option("--owner", metavar="OWNER", help="List only tasks of this owner.")]
OfEngine = Annotated[
    str | None, typer.Option("--engine", "-e", metavar="ENGINE", help="List only tasks of this engine.")
]
OnSlot = Annotated[str | None, typer.Option("--slot", metavar="SLOT", help="List only tasks on this slot.")]
WithLabels = Annotated[
    list[str] | None,
    typer.Option("--label", "-l", metavar="KEY=VALUE", help="List only tasks with this label (repeatable)."),
]
OutOfTasks = Annotated[
    Path, typer.Option("--out", "-o", metavar="FOLDER", help="Write the outputs to FOLDER/task-<number>/.")
]
OldestFirst = Annotated[bool, typer.Option("--oldest-first", help="List the oldest first. Default: the newest.")]


@app.command("list", epilog=make_example("corral tasks list --state running --limit 20"))
def list_(
    state: States = None,
    batch: OfBatch = None,
    queue: OfQueue = None,
    owner: OfOwner = None,
    engine: OfEngine = None,
    slot: OnSlot = None,
    label: WithLabels = None,
    limit: Limit = 50,
    oldest_first: OldestFirst = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, the newest first."""
    from corral.cli.listing import put_tasks

    chosen = [("batch", batch), ("queue", queue), ("owner", owner), ("engine", engine), ("slot", slot)]
    query: list[tuple[str, str | int]] = [("state", task_state) for task_state in state or ()]
    query += [("label", text) for text in label or ()]
    query += [(name, value) for name, value in chosen if value is not None]
    query.append(("order", "oldest" if oldest_first else "newest"))
    page = call_server(url, data_dir, lambda api: api.read_page("/corral/v1/tasks", query, limit=limit))
    if as_json:
        terminal.put_json(page)
    else:
        put_tasks(page["items"], as_json=False)


@app.command("show", epilog=make_example("corral tasks show 17"))
def show(task: TaskId, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one task and its story."""
    from corral.cli.listing import put_task

    async def use(api: Api) -> tuple[Json, Json]:
        return await api.get(f"/corral/v1/tasks/{task}"), (await api.get(f"/corral/v1/tasks/{task}/story"))["items"]

    shown, story = call_server(url, data_dir, use)
    put_task(shown, story, as_json=as_json)


@app.command("watch", epilog=make_example("corral tasks watch 17"))
def watch(task: TaskId, url: Url = None, data_dir: DataDir = None) -> None:
    """Follow a task until it ends.

    The exit code is 0 if it succeeded.
    """
    from corral.cli.exits import exit_code
    from corral.cli.following import follow_task

    raise typer.Exit(exit_code([call_server(url, data_dir, lambda api: follow_task(api, task))]))


@app.command("explain", epilog=make_example("corral tasks explain 17"))
def explain(task: TaskId, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Explain why a task waits, and when it can start.

    It names the rule, the slots, and since when.
    """
    from corral.cli.listing import put_explanation

    put_explanation(
        call_server(url, data_dir, lambda api: api.get(f"/corral/v1/tasks/{task}/explain")), as_json=as_json
    )


@app.command("fetch", epilog=make_example("corral tasks fetch 17 18"))
def fetch(
    tasks: TaskIds, out: OutOfTasks = Path("out"), url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Write the outputs of tasks, each into a folder (`task-17`).

    Files are checked and resumed as `corral batches fetch` does.
    """
    from corral.cli.listing import put_fetched
    from corral.client.fetching import Fetched, fetch_task

    async def use(api: Api) -> list[Fetched]:
        return [await fetch_task(api, task, out) for task in tasks]

    put_fetched(call_server(url, data_dir, use), as_json=as_json)


@app.command("cancel", epilog=make_example("corral tasks cancel 17 18"))
def cancel(
    tasks: TaskIds, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Cancel tasks: waiting ones at once, others through the engine."""
    from corral.cli.listing import put_change

    async def use(api: Api) -> list[Json]:
        if dry_run:
            return [await api.get(f"/corral/v1/tasks/{task}") for task in tasks]
        return [await api.post(f"/corral/v1/tasks/{task}/cancel") for task in tasks]

    verb = "would be cancelled" if dry_run else "cancel requested"
    put_change(call_server(url, data_dir, use), verb=verb, as_json=as_json)


@app.command("retry", epilog=make_example("corral tasks retry 17"))
def retry(
    tasks: TaskIds, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Submit ended tasks again, as new tasks linked to the old ones."""
    from corral.cli.listing import put_change

    async def use(api: Api) -> list[Json]:
        if dry_run:
            return [await api.get(f"/corral/v1/tasks/{task}") for task in tasks]
        return [await api.post(f"/corral/v1/tasks/{task}/retry") for task in tasks]

    put_change(
        call_server(url, data_dir, use), verb="would be retried" if dry_run else "submitted again", as_json=as_json
    )


@app.command("priority", epilog=make_example("corral tasks priority high 17 18"))
def priority(
    word: Annotated[
        Literal["idle", "low", "normal", "high", "critical"],
        typer.Argument(metavar="PRIORITY", help="From `idle` over `low`, `normal` and `high` to `critical`."),
    ],
    tasks: TaskIds,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Give tasks that wait another priority.

    They go before those with a lower one in their class.
    """
    from corral.cli.listing import put_change

    async def use(api: Api) -> list[Json]:
        return [await api.post(f"/corral/v1/tasks/{task}/priority", {"priority": word}) for task in tasks]

    put_change(call_server(url, data_dir, use), verb=f"priority {word}", as_json=as_json)


@app.command("logs", epilog=make_example("corral tasks logs 17"))
def logs(task: TaskId, url: Url = None, data_dir: DataDir = None) -> None:
    """Print the log of a task's program."""
    from corral.cli.following import put_log

    call_server(url, data_dir, lambda api: put_log(api, task))


@app.command("wait", epilog=make_example("corral tasks wait 17 18"))
def wait(tasks: TaskIds, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Wait until all these tasks have ended.

    The exit code is 0 if all succeeded.
    """
    from corral.cli.exits import exit_code
    from corral.cli.listing import put_tasks
    from corral.client.following import wait_for_task

    async def use(api: Api) -> list[Json]:
        return [await wait_for_task(api, task) for task in tasks]

    ended = call_server(url, data_dir, use)
    put_tasks(ended, as_json=as_json)
    raise typer.Exit(exit_code(ended))
