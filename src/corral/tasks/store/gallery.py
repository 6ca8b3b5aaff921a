"""Pictures that tasks made, newest first, found by what they were made with, and what people decided about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from corral.tasks.store.patterns import make_pattern
from corral.tasks.store.pool import Queries, Row
from corral.tasks.values import Sha256
from corral.units import Bytes

Place = tuple[int, str]
"""A task's id, and the name of its output."""


class Decision(StrEnum):
    """A decision about a picture."""

    FAVOURITE = "favourite"
    KEEP = "keep"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture, and what it was made with."""

    task: int
    name: str
    """Of the output."""
    sha256: str
    size: Bytes
    media_type: str
    task_name: str
    owner: str
    batch: int | None
    engine: str
    model: str | None
    prompt: str | None
    """None where the inputs name none."""
    seed: str | None
    """As the inputs have it."""
    made_at: datetime | None
    labels: Mapping[str, str]
    """Of the task."""
    decision: Decision | None
    """None before there is one."""
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFilter:
    """The pictures that are wanted; all where nothing is set."""

    search: str | None = None
    """A part of the inputs, in any case."""
    model: str | None = None
    """A part of the model's name, in any case."""
    seed: str | None = None
    batch: int | None = None
    owner: str | None = None
    labels: Mapping[str, str] | None = None
    """All of these, of the task."""
    decisions: Sequence[Decision] | None = None
    """Any of these."""
    decided: bool | None = None
    """Whether there is a decision."""


_PICTURES = """
select o.task_id, o.name, o.sha256, o.size, o.media_type, t.name as task_name, t.owner, t.batch_id, t.engine, t.model,
  t.inputs->>'prompt' as prompt, t.inputs->>'seed' as seed, t.finished_at, t.labels,
  d.decision, d.note
from outputs o join tasks t on t.id = o.task_id left join decisions d on d.task_id = o.task_id and d.name = o.name
where o.media_type like 'image/%'
"""


async def list_pictures(
    pool: Queries, chosen: PictureFilter, *, after: Place | None = None, limit: int
) -> tuple[Picture, ...]:
    """List pictures, those of the newest tasks first; `after` is the last one of the page before."""
    task, name = after or (None, None)
    rows = await pool.fetch(
        _PICTURES
        + """
          and ($1::bigint is null or (o.task_id, o.name) < ($1, $2))
          and ($3::text is null or t.inputs::text ilike $3)
          and ($4::text is null or t.model ilike $4)
          and ($5::text is null or t.inputs->>'seed' = $5)
          and ($6::bigint is null or t.batch_id = $6)
          and ($7::text is null or t.owner = $7)
          and ($8::jsonb is null or (t.labels <> '{}' and t.labels @> $8))
          and ($9::text[] is null or d.decision = any($9))
          and ($10::boolean is null or (d.decision is not null) = $10)
        order by o.task_id desc, o.name desc limit $11
        """,
        task,
        name,
        make_pattern(chosen.search),
        make_pattern(chosen.model),
        chosen.seed,
        chosen.batch,
        chosen.owner,
        None if chosen.labels is None else dict(chosen.labels),
        chosen.decisions,
        chosen.decided,
        limit,
    )
    return tuple(map(_read, rows))


async def find_pictures(pool: Queries, places: Sequence[Place]) -> tuple[Picture, ...]:
    """Return the pictures at these places, in their order; what is none is left out."""
    rows = await pool.fetch(
        _PICTURES + " and (o.task_id, o.name) in (select * from unnest($1::bigint[], $2::text[]))",
        [task for task, _ in places],
        [name for _, name in places],
    )
    known = {(row["task_id"], row["name"]): _read(row) for row in rows}
    return tuple(known[place] for place in dict.fromkeys(places) if place in known)


async def decide_pictures(
    pool: Queries, places: Sequence[Place], *, decision: Decision | None, note: str | None, by: str
) -> None:
    """Store the decision about each of these pictures instead of the one before; a note that is None stays."""
    await pool.execute(
        """
        insert into decisions (task_id, name, decision, note, decided_by)
        select o.task_id, o.name, $3, coalesce($4, ''), $5
        from outputs o join unnest($1::bigint[], $2::text[]) as p (task_id, name) using (task_id, name)
        on conflict (task_id, name) do update set decision = excluded.decision,
          note = coalesce($4, decisions.note), decided_by = excluded.decided_by, decided_at = now()
        """,
        [task for task, _ in places],
        [name for _, name in places],
        decision,
        note,
        by,
    )


def _read(row: Row) -> Picture:
    return Picture(
        task=row["task_id"],
        name=row["name"],
        sha256=Sha256(row["sha256"].hex()),
        size=Bytes(row["size"]),
        media_type=row["media_type"],
        task_name=row["task_name"],
        owner=row["owner"],
        batch=row["batch_id"],
        engine=row["engine"],
        model=row["model"],
        prompt=row["prompt"],
        seed=row["seed"],
        made_at=row["finished_at"],
        labels=row["labels"],
        decision=None if row["decision"] is None else Decision(row["decision"]),
        note=row["note"] or "",
    )
