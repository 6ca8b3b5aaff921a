"""The dispatcher's reads and writes: what is ready, who owns what, and the commit of one round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from corral.engine_kinds import ENGINES
from corral.scheduling.values import DurationKey, Gate, Priority, QueuedTask, Share, TaskClass
from corral.tasks.lifecycle import TaskState
from corral.tasks.store import story
from corral.tasks.store.leading import require_lead
from corral.tasks.store.pool import Connection, Pool, Queries, Row
from corral.tasks.store.transitions import Applied, Lease, TaskChange, apply_in
from corral.tasks.values import Sha256
from corral.units import Bytes
from corral.work import Json, SlotId

LOST_JOB_HOURS = 24
"""So long after the end of its task a lost attempt's job is looked for; an instance does not queue for longer."""
HISTORY_DAYS = 30
HISTORY_ROWS = 2000
"""Durations are learnt anew at each start from the newest successes; so many rows are read in some 10 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A task that is queued, or waits for nothing but a point in time."""

    task: QueuedTask
    state: TaskState
    delay_s: float
    """Seconds until it can start, by the database's clock; 0 when it can start now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """The parts of a task that an attempt needs and the policy does not."""

    task: int
    batch: int | None
    name: str
    inputs: Mapping[str, Json]
    files: Mapping[str, Sha256]
    missing_files: tuple[str, ...]
    """Names of inputs whose task ended without making that output."""
    timeout_s: float
    lost: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """The changes of one commit, and the details of the tasks that it leased."""

    applied: Applied
    details: Mapping[int, Details]


@dataclass(frozen=True, slots=True)
class Held:
    """A task that some attempt owns according to the database."""

    task: int
    lease: UUID
    holder: UUID
    slots: tuple[SlotId, ...]
    takes: tuple[SlotId, ...]
    """The places that nothing else can have meanwhile."""
    expired: bool


@dataclass(frozen=True, slots=True)
class LostJob:
    """A lost attempt, and the slot on which its job can still run."""

    task: int
    attempt: UUID
    slot: SlotId
    is_wanted: bool
    """Whether the task waits, and can still take it over."""


_READY = """
select t.id, t.owner, t.queue, t.engine, t.model, t.class, t.priority, t.precedence, t.gpus, t.state, t.avoid_slots,
  t.refused_slots, t.node, t.prefer_node, case when b.by is not null then b.id end as deadline,
  b."when" is not null as waits_for_cheap,
  coalesce(t.queued_at, now()) as queued_at,
  greatest(t.memory, m.bytes) as memory,
  greatest(0, extract(epoch from greatest(t.ready_at, case when t.state = 'waiting' then t.not_before end) - now()))
    ::double precision as delay_s,
  case when t.lost <> '{}' then
    (select e.data -> 'slots' ->> 0 from events e
     where e.task_id = t.id and e.kind = 'leased' order by e.id desc limit 1)
  end as prefer_slot,
  coalesce(h.slots, '{}') as returns_to, extract(epoch from h.lasts)::double precision as lasts_s
from tasks t
left join holds h on h.task_id = t.id
left join batches b on b.id = t.batch_id and (b.by is not null or b."when" is not null)
left join lateral (
  select max(bytes) as bytes from measured_memory m where m.engine = t.engine and m.model = t.model
) m on true
where t.finished_at is null and (t.state = 'queued' or (t.state = 'waiting' and t.open_needs = 0))
"""


async def read_ready_tasks(pool: Queries, ids: Iterable[int]) -> tuple[Ready, ...]:
    """Return those of the tasks that can start now or at a known time."""
    rows = await pool.fetch(f"{_READY} and t.id = any($1::bigint[])", list(ids))
    return tuple(_read_ready(row) for row in rows)


async def read_ready_tasks_after(pool: Queries, after: int, limit: int) -> tuple[Ready, ...]:
    """Return the oldest tasks with an id above `after` that can start now or at a known time, oldest first."""
    rows = await pool.fetch(f"{_READY} and t.id > $1 order by t.id limit $2", after, limit)
    return tuple(_read_ready(row) for row in rows)


_DUE = """
from tasks
where finished_at is null
  and ((state = 'queued' and (ready_at is null or ready_at <= now()))
    or (state = 'waiting' and open_needs = 0 and not_before <= now()))
"""
RANGE = 1024
"""Ids in a range: what is queued is compared by range, and only ranges that differ are read."""
DueRange = tuple[int, int]
"""How many tasks of a range can start, and the sum of their ids."""


async def count_due(pool: Queries) -> dict[int, DueRange]:
    """Return what can start now, by the database's clock, for each range of ids that has any."""
    rows = await pool.fetch(
        f"select id / {RANGE} as number, count(*) as count, sum(id)::bigint as sum {_DUE} group by id / {RANGE}"
    )
    return {row["number"]: (row["count"], row["sum"]) for row in rows}


async def list_due(pool: Queries, number: int) -> frozenset[int]:
    """Return the ids of one range that can start now, by the database's clock."""
    rows = await pool.fetch(f"select id {_DUE} and id >= $1 and id < $2", number * RANGE, (number + 1) * RANGE)
    return frozenset(row["id"] for row in rows)


def _read_ready(row: Row) -> Ready:
    task = QueuedTask(
        id=row["id"],
        owner=row["owner"],
        queue=row["queue"],
        engine=row["engine"],
        model=row["model"],
        task_class=TaskClass(row["class"]),
        priority=Priority(row["priority"]),
        precedence=row["precedence"],
        queued_at=row["queued_at"],
        gpus=row["gpus"],
        memory=row["memory"],
        node=row["node"],
        prefer_node=row["prefer_node"],
        deadline=row["deadline"],
        lasts_s=row["lasts_s"],
        waits_for_cheap=row["waits_for_cheap"],
        prefer_slot=row["prefer_slot"],
        returns_to=tuple(map(SlotId, row["returns_to"])),
        share=_find_share(row["engine"], row["memory"]),
        avoid_slots=frozenset(row["avoid_slots"]),
        refused_slots=frozenset(row["refused_slots"]),
    )
    return Ready(task=task, state=TaskState(row["state"]), delay_s=row["delay_s"])


def _find_share(engine: str, memory: Bytes | None) -> Share:
    """Return what a task takes of its devices: a program that does not say how much it needs has all of them."""
    kind = ENGINES.get(engine)
    return Share.WHOLE if kind is not None and kind.held and memory is None else Share.MEMORY


async def commit_round(pool: Pool, changes: Sequence[TaskChange], lease: Lease, *, epoch: int | None) -> Round:
    """Write outcomes and new leases in one transaction, and read what the new attempts need.

    A leader names its `epoch`: nothing is written once another leads. Without one, only what a lease guards is written.
    Nothing else is locked while this runs, and the transaction is short: it is never retried here.
    Raises: LeadLostError.
    """
    async with story.open_writing(pool) as writing:
        if epoch is not None:
            await require_lead(writing.connection, epoch)
        applied = await apply_in(writing, changes, lease=lease)
        made = await _read_outputs(writing.connection, applied.leased)
        return Round(applied, {row["id"]: _read_details(row, made) for row in applied.leased})


async def _read_outputs(connection: Connection, leased: Iterable[Row]) -> dict[tuple[int, str], Sha256]:
    wanted = {ref["task"] for row in leased for ref in row["files"].values() if "task" in ref}
    if not wanted:
        return {}
    rows = await connection.fetch(
        "select task_id, name, sha256 from outputs where task_id = any($1::bigint[])", list(wanted)
    )
    return {(row["task_id"], row["name"]): Sha256(row["sha256"].hex()) for row in rows}


def _read_details(row: Row, made: Mapping[tuple[int, str], Sha256]) -> Details:
    files: dict[str, Sha256] = {}
    missing: list[str] = []
    for name, ref in row["files"].items():
        content = Sha256(ref["upload"]) if "upload" in ref else made.get((ref["task"], ref["output"]))
        if content is None:
            missing.append(f"{name} (output {ref['output']!r} of task {ref['task']})")
        else:
            files[name] = content
    return Details(
        task=row["id"],
        batch=row["batch_id"],
        name=row["name"],
        inputs=row["inputs"],
        files=files,
        missing_files=tuple(missing),
        timeout_s=row["timeout_s"],
        lost=tuple(row["lost"]),
    )


async def renew_leases(pool: Queries, leases: Sequence[UUID], ttl: timedelta) -> frozenset[UUID]:
    """Move the deadlines of these leases; return those that are still valid. Locks in the order of ids, as all do."""
    rows = await pool.fetch(
        """
        update tasks set lease_until = now() + $2
        where id in (select id from tasks where id in (select task_id from slot_leases) and lease = any($1::uuid[])
                     order by id for update)
          and lease = any($1::uuid[])
        returning lease
        """,
        list(leases),
        ttl,
    )
    return frozenset(row["lease"] for row in rows)


async def list_held(pool: Queries) -> tuple[Held, ...]:
    """Return every task that an attempt owns, and whether its lease has run out by the database's clock."""
    rows = await pool.fetch(
        "select id, lease, lease_holder, slots, takes, lease_until < now() as expired from tasks"
        " join (select task_id, array_agg(distinct slot) as takes from slot_leases group by task_id) l"
        " on l.task_id = id"
    )
    return tuple(
        Held(
            task=row["id"],
            lease=row["lease"],
            holder=row["lease_holder"],
            slots=tuple(map(SlotId, row["slots"])),
            takes=tuple(map(SlotId, row["takes"])),
            expired=row["expired"],
        )
        for row in rows
    )


async def list_lost_jobs(pool: Queries) -> tuple[LostJob, ...]:
    """Return the attempts whose jobs can still run elsewhere, of tasks that have not ended or ended not long ago."""
    rows = await pool.fetch(
        """
        select t.id, (e.data ->> 'attempt')::uuid as attempt, e.data -> 'slots' ->> 0 as slot,
          t.state in ('waiting', 'queued') as is_wanted
        from tasks t join events e on e.task_id = t.id and e.kind = 'leased'
        where t.lost <> '{}' and (e.data ->> 'attempt')::uuid = any(t.lost)
          and (t.finished_at is null or t.finished_at > now() - make_interval(hours => $1))
        order by t.id, e.id
        """,
        LOST_JOB_HOURS,
    )
    return tuple(LostJob(row["id"], row["attempt"], SlotId(row["slot"]), row["is_wanted"]) for row in rows)


async def read_gates(pool: Queries) -> dict[tuple[str, str], Gate]:
    """Return every gate that was set, as (`slot` or `queue`, name); of devices, too: see `slots.values.find_gate`."""
    rows = await pool.fetch("select kind, name, gate from gates")
    return {(row["kind"], row["name"]): Gate(row["gate"]) for row in rows}


async def read_durations(pool: Queries) -> tuple[tuple[DurationKey, float], ...]:
    """Return the newest successes' keys and seconds, oldest first."""
    rows = await pool.fetch(
        """
        select engine, model, device_model, extract(epoch from finished_at - started_at)::double precision as seconds
        from tasks
        where state = 'succeeded' and started_at is not null and device_model is not null
          and finished_at > now() - make_interval(days => $1)
        order by finished_at desc limit $2
        """,
        HISTORY_DAYS,
        HISTORY_ROWS,
    )
    keyed = ((DurationKey(row["engine"], row["model"], row["device_model"]), row["seconds"]) for row in rows)
    return tuple(keyed)[::-1]


async def read_memory(pool: Queries) -> dict[tuple[str, str | None], Bytes]:
    """Return the most memory that each model was seen to take on any device, by engine and model."""
    rows = await pool.fetch("select engine, model, max(bytes) as bytes from measured_memory group by engine, model")
    return {(row["engine"], row["model"]): Bytes(row["bytes"]) for row in rows}


async def note_memory(pool: Queries, key: DurationKey, used: Bytes) -> None:
    """Remember the most memory that a model was seen to take."""
    await pool.execute(
        """
        insert into measured_memory (engine, model, device_model, bytes) values ($1, $2, $3, $4)
        on conflict (engine, model, device_model) do update
          set bytes = greatest(measured_memory.bytes, excluded.bytes)
          where measured_memory.bytes < excluded.bytes
        """,
        key.engine,
        key.model,
        key.device_model,
        used,
    )
