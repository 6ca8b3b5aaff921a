"""Usage of models: requests, tokens and seconds of each key, owner, model, engine, door and day (UTC).

Requests of doors are written behind, in batches. A batch has its writer's next number, and is written with it in one
transaction: one whose outcome is unknown is sent again, and counts once. Durable tasks are counted from the story, up
to a line that is noted in the same transaction: a server that is killed counts none twice, and none is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from uuid import UUID

from corral.tasks.store import story
from corral.tasks.store.pool import Connection, Pool, Queries

KEPT_DAYS = 800
"""Two years and a bit: a year can be compared with the one before."""
MAX_LINES = 10_000
"""Lines of one answer."""
_STEP_IDS = 50_000
"""Lines of the story that one transaction reads; a server that was away for long takes several."""
_WRITERS_KEPT = "7 days"
"""Long after a writer has given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageOf:
    """Whose usage, of what, when."""

    day: date
    """In UTC."""
    key: str | None
    """The token's name; None for what came without one."""
    owner: str
    model: str
    cloud: str | None = None
    """The provider elsewhere that served it; None for what was done here."""
    engine: str | None = None
    """The engine that did it; None for what was done elsewhere."""
    door: str | None = None
    """The way it came in; None for what was counted before this was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Sums."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """For which a lane of a slot was taken."""
    joules: float | None = None
    """Of GPUs, as measured; None where none was."""
    metered: int = 0
    """How many requests and attempts these joules are of."""

    def __add__(self, other: Used) -> Used:
        """Return both together."""
        measured = [used.joules for used in (self, other) if used.joules is not None]
        return Used(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            seconds=self.seconds + other.seconds,
            joules=sum(measured) if measured else None,
            metered=self.metered + other.metered,
        )

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.completion_tokens


class UsageBy(StrEnum):
    """What usage is summed up by."""

    KEY = "key"
    MODEL = "model"
    DAY = "day"
    ENGINE = "engine"
    DOOR = "door"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine(Used):
    """Sums of one group; what they are not summed up by is None."""

    day: date | None = None
    key: str | None = None
    owner: str | None = None
    model: str | None = None
    engine: str | None = None
    door: str | None = None


async def write_usage(pool: Pool, writer: UUID, sequence: int, used: Sequence[tuple[UsageOf, Used]]) -> None:
    """Add what was used; the same `sequence` of a writer again changes nothing. Raises: what asyncpg raises."""
    async with pool.acquire() as connection, connection.transaction():
        if await claim_sequence(connection, writer, sequence):
            await _add(connection, used)
            await connection.execute(f"delete from usage_writers where written_at < now() - interval '{_WRITERS_KEPT}'")


async def claim_sequence(connection: Queries, writer: UUID, sequence: int) -> bool:
    """Take the next number of a writer, in the transaction of what is written with it; False where that was written."""
    fresh = await connection.fetchval(
        """
        insert into usage_writers (writer, sequence) values ($1, $2)
        on conflict (writer) do update set sequence = excluded.sequence, written_at = now()
          where usage_writers.sequence < excluded.sequence
        returning true
        """,
        writer,
        sequence,
    )
    return bool(fresh)


async def _add(connection: Connection, used: Sequence[tuple[UsageOf, Used]]) -> None:
    rows = [
        (
            *(of.day, of.key, of.owner, of.model, of.cloud, of.engine, of.door),
            *(sums.requests, sums.prompt_tokens, sums.completion_tokens, sums.seconds, sums.joules, sums.metered),
        )
        for of, sums in used
    ]
    rows.sort(key=lambda row: tuple(str(part) for part in row[:7]))  # two writers never wait for each other in a circle
    await connection.executemany(
        """
        insert into usage as u
          (day, key, owner, model, cloud, engine, door, requests, prompt_tokens, completion_tokens, seconds, joules,
           metered)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        on conflict (day, key, owner, model, cloud, engine, door) do update set
          requests = u.requests + excluded.requests,
          prompt_tokens = u.prompt_tokens + excluded.prompt_tokens,
          completion_tokens = u.completion_tokens + excluded.completion_tokens,
          seconds = u.seconds + excluded.seconds,
          joules = coalesce(u.joules + excluded.joules, u.joules, excluded.joules),
          metered = u.metered + excluded.metered
        """,
        rows,
    )


async def count_ended_tasks(pool: Pool) -> None:
    """Add what tasks used that have succeeded since the last count: their seconds, and tokens that engines report."""
    while True:
        async with pool.acquire() as connection, connection.transaction():
            after: int = await connection.fetchval("select story from usage_followed for update")
            up_to = min(await story.read_horizon(connection), after + _STEP_IDS)
            if up_to <= after:
                return
            await _add(connection, await _sum_tasks(connection, after, up_to))
            await connection.execute("update usage_followed set story = $1", up_to)


DOOR_OF_TASK = """
case when p.facts ? 'priority' then 'comfy-api' when p.task_id is not null then 'comfyui'
  when parts.id is not null then 'batches' else 'queue' end
"""
"""The way in of a task `t`, joined with its prompt `p` and with `parts`, the batches of OpenAI's door."""


async def _sum_tasks(connection: Queries, after: int, up_to: int) -> list[tuple[UsageOf, Used]]:
    rows = await connection.fetch(
        f"""
        with parts as materialized (select distinct unnest(parts) as id from client_batches)
        select (e.at at time zone 'utc')::date as day, t.key, t.owner, coalesce(t.model, t.engine) as model, t.engine,
          {DOOR_OF_TASK} as door,
          count(*) as requests,
          coalesce(sum(extract(epoch from t.finished_at - t.started_at)), 0)::double precision as seconds,
          coalesce(sum(trunc((t.result ->> 'prompt_tokens')::numeric))
            filter (where jsonb_typeof(t.result -> 'prompt_tokens') = 'number'), 0)::bigint as prompt_tokens,
          coalesce(sum(trunc((t.result ->> 'completion_tokens')::numeric))
            filter (where jsonb_typeof(t.result -> 'completion_tokens') = 'number'), 0)::bigint as completion_tokens
        from events e join tasks t on t.id = e.task_id
          left join prompts p on p.task_id = t.id left join parts on parts.id = t.batch_id
        where e.id > $1 and e.id <= $2 and e.data ->> 'state' = 'succeeded'
        group by 1, 2, 3, 4, 5, 6
        """,
        after,
        up_to,
    )
    return [
        (
            UsageOf(**{name: row[name] for name in ("day", "key", "owner", "model", "engine", "door")}),
            Used(
                requests=row["requests"],
                prompt_tokens=row["prompt_tokens"],
                completion_tokens=row["completion_tokens"],
                seconds=row["seconds"],
            ),
        )
        for row in rows
    ]


async def read_tokens_of_day(pool: Queries, day: date) -> dict[str, int]:
    """Return the tokens of each key on a day."""
    rows = await pool.fetch(
        "select key, sum(prompt_tokens + completion_tokens)::bigint as tokens from usage"
        " where day = $1 and key is not null group by key",
        day,
    )
    return {row["key"]: row["tokens"] for row in rows}


async def forget_old_usage(pool: Queries, today: date) -> None:
    """Delete the usage of days that are longer ago than `KEPT_DAYS`."""
    await pool.execute("delete from usage where day < $1::date - $2::int", today, KEPT_DAYS)


_COLUMNS = {
    UsageBy.KEY: ("key", "owner"),
    UsageBy.MODEL: ("model",),
    UsageBy.DAY: ("day",),
    UsageBy.ENGINE: ("engine",),
    UsageBy.DOOR: ("door",),
}


async def list_usage(
    pool: Queries, *, by: UsageBy | None, since: date | None = None, owner: str | None = None
) -> tuple[UsageLine, ...]:
    """Return usage, the most tokens first, days in their order; without `by`, of each group there is.

    `since` is the first day (UTC); `owner` leaves out others.
    """
    columns = ("day", "key", "owner", "model", "engine", "door") if by is None else _COLUMNS[by]
    order = "day, tokens desc, seconds desc" if "day" in columns else "tokens desc, seconds desc"
    rows = await pool.fetch(
        f"""
        select {", ".join(columns)}, sum(requests)::bigint as requests, sum(prompt_tokens)::bigint as prompt_tokens,
          sum(completion_tokens)::bigint as completion_tokens, sum(seconds) as seconds, sum(joules) as joules,
          sum(metered)::bigint as metered,
          sum(prompt_tokens + completion_tokens) as tokens
        from usage where ($1::date is null or day >= $1) and ($2::text is null or owner = $2)
        group by {", ".join(columns)} order by {order}, {", ".join(columns)} limit {MAX_LINES}
        """,
        since,
        owner,
    )
    sums = ("requests", "prompt_tokens", "completion_tokens", "seconds", "joules", "metered")
    return tuple(UsageLine(**{name: row[name] for name in (*columns, *sums)}) for row in rows)
