"""Prompts: tasks under the names that clients of ComfyUI gave them, and the files that these uploaded by name.

A name is its owner's: two owners can use the same. A prompt that its owner took out of the history stays a task.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from corral.tasks.lifecycle import TaskState
from corral.tasks.store.pool import Connection, Pool, Queries, Row
from corral.tasks.store.reading import get_tasks
from corral.tasks.values import Prompt, Sha256, StoredFile, Task
from corral.units import Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTask:
    """A prompt, and the task that it is."""

    prompt: Prompt
    task: Task


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLine:
    """A prompt in a list, without what is large."""

    task: int
    id: str
    state: TaskState
    workflow_id: str | None
    """Of the drawn workflow that it was made from; None where its client sent none along."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


_LINES = """select p.task_id, p.id, t.state, t.created_at, t.started_at, t.finished_at,
  t.inputs #>> '{extra_data,extra_pnginfo,workflow,id}' as workflow_id
from prompts p join tasks t on t.id = p.task_id"""
_IS_IN_HISTORY = "not p.hidden and t.finished_at is not null and (t.state <> 'cancelled' or t.started_at is not null)"

NewPrompt = tuple[int, str, str, object]
"""Task, owner, name and facts."""


async def add_in(connection: Connection, new: Sequence[NewPrompt]) -> None:
    """Store the prompts of new tasks."""
    if new:
        columns = ["task_id", "owner", "id", "facts"]
        await connection.copy_records_to_table("prompts", records=new, columns=columns)


async def find_prompt(pool: Queries, owner: str, id: str) -> PromptTask | None:
    """Find an owner's prompt by its name, hidden or not."""
    rows = await pool.fetch("select task_id, id, facts from prompts where owner = $1 and id = $2", owner, id)
    return next(iter(await _add_tasks(pool, rows)), None)


async def find_prompts_of_tasks(pool: Queries, tasks: Collection[int]) -> dict[int, tuple[str, Prompt]]:
    """Return owner and prompt of those of the tasks that are prompts."""
    rows = await pool.fetch(
        "select task_id, owner, id, facts from prompts where task_id = any($1::bigint[])", list(tasks)
    )
    return {row["task_id"]: (row["owner"], Prompt(id=row["id"], facts=row["facts"])) for row in rows}


async def list_open_prompts(pool: Queries, owner: str) -> tuple[PromptLine, ...]:
    """Return all of an owner's prompts that have not ended, in the order in which they go."""
    rows = await pool.fetch(
        f"{_LINES} where t.finished_at is null and p.owner = $1 order by t.precedence desc, t.id", owner
    )
    return tuple(_read_line(row) for row in rows)


async def find_highest_precedence(pool: Queries, owner: str) -> int:
    """Return the highest precedence of an owner's prompts that have not ended; 0 where there are none."""
    return int(
        await pool.fetchval(
            "select coalesce(max(t.precedence), 0) from tasks t join prompts p on p.task_id = t.id"
            " where t.finished_at is null and p.owner = $1",
            owner,
        )
    )


async def count_open_prompts(pool: Queries, owner: str) -> int:
    """Count an owner's prompts that have not ended."""
    return int(
        await pool.fetchval(
            "select count(*) from tasks t join prompts p on p.task_id = t.id"
            " where t.finished_at is null and p.owner = $1",
            owner,
        )
    )


async def list_ended_prompts(pool: Queries, owner: str, *, limit: int) -> tuple[PromptLine, ...]:
    """Return an owner's newest prompts that have ended and were started or failed, newest first."""
    rows = await pool.fetch(
        f"{_LINES} where p.owner = $1 and {_IS_IN_HISTORY} order by p.task_id desc limit $2", owner, limit
    )
    return tuple(_read_line(row) for row in rows)


async def list_prompts(
    pool: Queries,
    owner: str,
    *,
    states: Collection[TaskState],
    metadata: Mapping[str, str],
    before: int,
    limit: int,
) -> tuple[PromptTask, ...]:
    """Return an owner's prompts of tasks below `before`, in any of the states and with all of the metadata.

    Newest first, open and ended ones alike; those that were taken out of the history are not among them.
    """
    rows = await pool.fetch(
        """
        select p.task_id, p.id, p.facts from prompts p join tasks t on t.id = p.task_id
        where p.owner = $1 and p.task_id < $2 and t.state = any($3::task_state[])
          and (t.finished_at is null or not p.hidden) and ($4::jsonb = '{}' or p.facts -> 'metadata' @> $4)
        order by p.task_id desc limit $5
        """,
        owner,
        before,
        [state.value for state in states],
        dict(metadata),
        limit,
    )
    return (await _add_tasks(pool, rows))[::-1]


async def read_prompts(pool: Queries, tasks: Collection[int]) -> tuple[PromptTask, ...]:
    """Return those of the tasks that are prompts, oldest first."""
    rows = await pool.fetch("select task_id, id, facts from prompts where task_id = any($1::bigint[])", list(tasks))
    return await _add_tasks(pool, rows)


async def hide_prompts(pool: Queries, owner: str, ids: Collection[str] | None) -> None:
    """Take ended prompts out of an owner's history; all of them where `ids` is None."""
    await pool.execute(
        "update prompts p set hidden = true from tasks t where t.id = p.task_id and t.finished_at is not null"
        " and p.owner = $1 and not p.hidden and ($2::text[] is null or p.id = any($2))",
        owner,
        None if ids is None else list(ids),
    )


def _read_line(row: Row) -> PromptLine:
    return PromptLine(
        task=row["task_id"],
        id=row["id"],
        state=TaskState(row["state"]),
        workflow_id=row["workflow_id"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )


async def _add_tasks(pool: Queries, rows: Sequence[Row]) -> tuple[PromptTask, ...]:
    prompts = {row["task_id"]: Prompt(id=row["id"], facts=row["facts"]) for row in rows}
    return tuple(PromptTask(prompt=prompts[task.id], task=task) for task in await get_tasks(pool, list(prompts)))


# --- input files ----------------------------------------------------------------------------------------------------


async def name_input_file(pool: Pool, owner: str, folder: str, names: Sequence[str], sha256: Sha256) -> str:
    """Give an upload the first of the names that is free, or that it has already, and return it."""
    content = bytes.fromhex(sha256)
    for name in names:
        taken = await pool.fetchval(
            "insert into input_files (owner, folder, name, sha256) values ($1, $2, $3, $4)"
            " on conflict (owner, folder, name) do update set sha256 = input_files.sha256 returning sha256",
            owner,
            folder,
            name,
            content,
        )
        if taken == content:
            return name
    raise AssertionError("the last name is a random one")


async def replace_input_file(pool: Pool, owner: str, folder: str, name: str, sha256: Sha256) -> None:
    """Give an upload a name, whatever had it."""
    await pool.execute(
        "insert into input_files (owner, folder, name, sha256) values ($1, $2, $3, $4)"
        " on conflict (owner, folder, name) do update set sha256 = excluded.sha256",
        owner,
        folder,
        name,
        bytes.fromhex(sha256),
    )


async def find_input_files(
    pool: Queries, owner: str, folder: str, names: Collection[str] | None = None
) -> dict[str, StoredFile]:
    """Return an owner's input files by name: those of these names, or all."""
    rows = await pool.fetch(
        "select f.name, f.sha256, u.size, u.media_type from input_files f join uploads u using (sha256, owner)"
        " where f.owner = $1 and f.folder = $2 and ($3::text[] is null or f.name = any($3)) order by f.name",
        owner,
        folder,
        None if names is None else list(names),
    )
    return {
        row["name"]: StoredFile(
            name=row["name"],
            sha256=Sha256(row["sha256"].hex()),
            size=Bytes(row["size"]),
            media_type=row["media_type"],
        )
        for row in rows
    }
