"""Shows what a batch file asks for, without asking for it."""

from __future__ import annotations

from corral.cli import terminal
from corral.client.batchfile.values import BatchFile


def put_plan(batch: BatchFile, *, as_json: bool) -> None:
    """Print what would be submitted; in JSON, what the HTTP API would get, with paths where uploads would be."""
    if as_json:
        terminal.put_json(batch.request({path: str(path) for path in batch.local_files}))
        return
    rows = [(task.name, task.engine, task.model, ", ".join(_takes(task.body.get("files", {})))) for task in batch.tasks]
    terminal.put_table(("task", "engine", "model", "takes"), rows, empty="")
    terminal.say(f"{batch.name}: {terminal.counted(len(batch.tasks), 'task')}; nothing was submitted")


def _takes(files: dict[str, dict[str, str]]) -> list[str]:
    return [f"{ref['task']}/{ref['output']}" for ref in files.values() if "task" in ref]
