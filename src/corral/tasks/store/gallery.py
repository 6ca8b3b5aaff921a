"""Pictures that tasks made, newest first, found by what they were made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from corral.tasks.store.patterns import make_pattern
from corral.tasks.store.pool import Queries, Row
from corral.tasks.values import Sha256
from corral.units import Bytes

Place = tuple[int, str]
"""A task's id, and the name of its output."""


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


_PICTURES = """
select o.task_id, o.name, o.sha256, o.size, o.media_type, t.name as task_name, t.owner, t.batch_id, t.engine, t.model,
  t.inputs->>'prompt' as prompt, t.inputs->>'seed' as seed, t.finished_at
from outputs o join tasks t on t.id = o.task_id
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
        order by o.task_id desc, o.name desc limit $8
        """,
        task,
        name,
        make_pattern(chosen.search),
        make_pattern(chosen.model),
        chosen.seed,
        chosen.batch,
        chosen.owner,
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
    )
