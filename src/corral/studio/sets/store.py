"""Sets in the database, as those who ask for them see them: saved, listed, shown, cancelled. Each is its owner's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.studio.quality.keepers import JudgedTake
from corral.studio.sets.planning import NewTake, SetPlan, make_remake
from corral.studio.sets.values import KnownPicture, PictureState, WantedPicture
from corral.tasks.store.pool import Connection, Pool, Queries, Row
from corral.work import Json

UNDER_WAY = ("planned", "making", "checking")
"""States of takes that have not ended."""
_LOCK = 0x73657473  # "sets": the first half of an advisory lock; the other is a hash of the owner


PlanMaker = Callable[[Mapping[str, KnownPicture]], SetPlan]
"""Takes the pictures that are there, and returns what the set lacks."""


class SetMissingError(CorralError):
    """There is no such set, or it is another owner's."""

    code: ClassVar[str] = "set.missing"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSet:
    """A set, with counts of its pictures that are wanted now."""

    id: int
    name: str
    owner: str
    created_at: datetime
    changed_at: datetime
    pictures: int
    states: Mapping[PictureState, int]
    """How many pictures are in which state; those of none are left out."""
    takes: int
    """Pictures that were made for it, rejected ones included."""
    remade: int
    """Takes after the first of their pictures."""
    file: Mapping[str, Json] = field(repr=False)
    """The set file, as it was sent last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTake:
    """One take of a picture."""

    number: int
    state: str
    """`planned`, `making`, `checking`, `accepted`, `rejected`, `failed`, `cancelled`, or `replaced` by a later one."""
    seed: int
    task: int | None
    """The task that made it; it can be deleted by now."""
    output: str | None
    """The name of the task's output."""
    sha256: str | None
    measurements: Mapping[str, float]
    reasons: tuple[str, ...]
    """Why it is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPicture:
    """A picture of a set, with all its takes, the first one first."""

    key: str
    state: PictureState
    settings: Mapping[str, str]
    takes: tuple[SetTake, ...]


async def save_set(
    pool: Pool,
    *,
    owner: str,
    token: str | None,
    name: str,
    file: Mapping[str, Json],
    wanted: Sequence[WantedPicture],
    make_plan: PlanMaker,
) -> SetPlan:
    """Store a set and plan what it lacks, in one transaction; return what was planned.

    `token` is that whose usage its tasks count for.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1, hashtext($2))", _LOCK, owner)
        set_id: int = await connection.fetchval(
            """
            insert into sets (owner, key, name, file) values ($1, $2, $3, $4)
            on conflict (owner, name) do update set key = $2, file = $4, changed_at = now() returning id
            """,
            owner,
            token,
            name,
            dict(file),
        )
        plan = make_plan(await read_known(connection, set_id, lock=True))
        await _write_plan(connection, set_id, plan, [picture.key for picture in wanted])
    return plan


async def read_known(connection: Queries, set_id: int, *, lock: bool = False) -> dict[str, KnownPicture]:
    """Return the pictures of a set by key, those that are no longer wanted too; `lock` keeps them as they are."""
    rows = await connection.fetch(
        f"""
        select p.key, p.state, p.digest, p.sources, p.wanted, t.number, t.round
        from set_pictures p
        join lateral (select number, round from set_takes t where t.set_id = p.set_id and t.key = p.key
                      order by number desc limit 1) t on true
        where p.set_id = $1 order by p.key {"for update of p" if lock else ""}
        """,
        set_id,
    )
    return {
        row["key"]: KnownPicture(
            state=PictureState(row["state"]),
            digest=row["digest"],
            sources=row["sources"],
            number=row["number"],
            round=row["round"],
            wanted=row["wanted"],
        )
        for row in rows
    }


async def _write_plan(connection: Connection, set_id: int, plan: SetPlan, wanted: Sequence[str]) -> None:
    await connection.execute(
        """
        update set_pictures set wanted = not wanted
        where set_id = $1 and wanted <> (key = any($2::text[]))
        """,
        set_id,
        [*wanted],
    )
    await connection.executemany(
        """
        insert into set_pictures (set_id, key, state, task, checks, first_seed, settings, sources, digest)
        values ($1, $2, 'open', $3, $4, $5, $6, $7, $8)
        on conflict (set_id, key) do update set wanted = true, state = 'open', task = $3, checks = $4,
          first_seed = $5, settings = $6, sources = $7, digest = $8
        """,
        [_record(set_id, take.picture) for take in plan.takes],
    )
    await connection.execute(
        "update set_takes set state = 'replaced' where set_id = $1 and key = any($2::text[]) and state = 'accepted'",
        set_id,
        [take.picture.key for take in plan.takes],
    )
    await plan_takes(connection, [(set_id, take) for take in plan.takes])


def _record(set_id: int, picture: WantedPicture) -> tuple[object, ...]:
    return (
        *(set_id, picture.key, dict(picture.task), [dict(check) for check in picture.checks], picture.first_seed),
        *(dict(picture.settings), dict(picture.sources), picture.digest),
    )


async def plan_takes(connection: Queries, takes: Sequence[tuple[int, NewTake]]) -> None:
    """Add takes to pictures that have none under way."""
    await connection.executemany(
        """
        insert into set_takes (set_id, key, number, round, seed, state, settings)
        values ($1, $2, $3, $4, $5, 'planned', $6)
        """,
        [
            (set_id, take.picture.key, take.number, take.round, take.seed, dict(take.picture.settings))
            for set_id, take in takes
        ],
    )


_SETS = """
select s.id, s.name, s.owner, s.file, s.created_at, s.changed_at,
  (select coalesce(jsonb_object_agg(state, count), '{}') from (
     select state, count(*) from set_pictures p where p.set_id = s.id and p.wanted group by state) c) as states,
  t.takes, t.remade
from sets s, lateral (
  select count(*) filter (where t.task is not null) as takes, count(*) filter (where t.number > 1) as remade
  from set_takes t where t.set_id = s.id) t
"""


async def list_sets(pool: Queries, *, owner: str | None) -> tuple[StoredSet, ...]:
    """Return the sets of an owner, or with None of all, the last changed first."""
    rows = await pool.fetch(
        f"{_SETS} where $1::text is null or s.owner = $1 order by s.changed_at desc, s.id desc", owner
    )
    return tuple(map(_read_set, rows))


async def find_set(pool: Queries, *, owner: str, name: str) -> StoredSet | None:
    """Return one set of an owner; None where there is none of the name."""
    row = await pool.fetchrow(f"{_SETS} where s.owner = $1 and s.name = $2", owner, name)
    return None if row is None else _read_set(row)


async def get_set(pool: Queries, *, owner: str, name: str) -> StoredSet:
    """Return one set of an owner. Raises: SetMissingError."""
    stored = await find_set(pool, owner=owner, name=name)
    if stored is None:
        raise SetMissingError(f"there is no set {name!r} of {owner!r}", hint="`corral sets list` shows those there are")
    return stored


def _read_set(row: Row) -> StoredSet:
    states = {PictureState(name): count for name, count in row["states"].items()}
    return StoredSet(
        id=row["id"],
        name=row["name"],
        owner=row["owner"],
        created_at=row["created_at"],
        changed_at=row["changed_at"],
        pictures=sum(states.values()),
        states={state: states[state] for state in PictureState if state in states},
        takes=row["takes"],
        remade=row["remade"],
        file=row["file"],
    )


async def list_pictures(
    pool: Queries, set_id: int, *, state: PictureState | None = None, after: str | None = None, limit: int
) -> tuple[SetPicture, ...]:
    """Return pictures that are wanted, in the order of their keys; `after` is the last one of the page before."""
    rows = await pool.fetch(
        """
        select p.key, p.state, p.settings, jsonb_agg(jsonb_build_object(
            'number', t.number, 'state', t.state, 'seed', t.seed, 'task', t.task, 'output', t.output,
            'sha256', encode(t.sha256, 'hex'), 'measurements', t.measurements, 'reasons', t.reasons
          ) order by t.number) as takes
        from (select * from set_pictures where set_id = $1 and wanted and ($2::text is null or state = $2)
                and ($3::text is null or key collate "C" > $3) order by key collate "C" limit $4) p
        join set_takes t on t.set_id = p.set_id and t.key = p.key
        group by p.key, p.state, p.settings order by p.key collate "C"
        """,
        set_id,
        state,
        after,
        limit,
    )
    return tuple(
        SetPicture(
            key=row["key"],
            state=PictureState(row["state"]),
            settings=row["settings"],
            takes=tuple(map(_read_take, row["takes"])),
        )
        for row in rows
    )


def _read_take(row: Row) -> SetTake:
    return SetTake(
        number=row["number"],
        state=row["state"],
        seed=row["seed"],
        task=row["task"],
        output=row["output"],
        sha256=row["sha256"],
        measurements=row["measurements"],
        reasons=tuple(row["reasons"]),
    )


async def read_judged_takes(pool: Queries, set_id: int) -> tuple[JudgedTake, ...]:
    """Return every take that has a verdict; one that was replaced later had been accepted."""
    rows = await pool.fetch(
        """
        select settings, seed, state, measurements from set_takes
        where set_id = $1 and state in ('accepted', 'rejected', 'replaced') order by key, number
        """,
        set_id,
    )
    return tuple(
        JudgedTake(
            settings=row["settings"],
            seed=row["seed"],
            accepted=row["state"] != "rejected",
            measurements=row["measurements"],
        )
        for row in rows
    )


async def cancel_set(pool: Pool, set_id: int) -> tuple[int, ...]:
    """Cancel the pictures that are under way; return their tasks, which are still to be cancelled."""
    async with pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(
            "update set_takes set state = 'cancelled', ended_at = now() where set_id = $1 and state = any($2::text[])"
            " returning task, checks",
            set_id,
            [*UNDER_WAY],
        )
        await connection.execute(
            "update set_pictures set state = 'cancelled' where set_id = $1 and state = 'open'", set_id
        )
    return tuple(sorted(task for row in rows for task in (row["task"], *row["checks"]) if task is not None))


async def reject_pictures(pool: Pool, stored: StoredSet, keys: Sequence[str]) -> tuple[str, ...]:
    """Reject pictures by a person's word and plan another take of each; return the keys of those.

    Pictures that are under way stay as they are.
    """
    async with pool.acquire() as connection, connection.transaction():
        return await _reject(connection, stored.id, stored.name, keys)


async def reject_outputs(connection: Connection, places: Sequence[tuple[int, str]]) -> bool:
    """Reject the accepted pictures of sets that are these outputs of tasks; return whether any is made again.

    `connection` has a transaction open.
    """
    rows = await connection.fetch(
        """
        select s.id, s.name, array_agg(t.key order by t.key) as keys
        from unnest($1::bigint[], $2::text[]) as p (task, output)
        join set_takes t using (task, output) join sets s on s.id = t.set_id
        where t.state = 'accepted' group by s.id order by s.id
        """,
        [task for task, _ in places],
        [output for _, output in places],
    )
    rejected = [await _reject(connection, row["id"], row["name"], row["keys"]) for row in rows]
    return any(rejected)


async def _reject(connection: Connection, set_id: int, name: str, keys: Sequence[str]) -> tuple[str, ...]:
    rows = await connection.fetch(
        "update set_pictures set state = 'open' where set_id = $1 and key = any($2::text[])"
        " and state in ('accepted', 'rejected') and wanted"
        " returning key, task, checks, first_seed, settings, sources, digest",
        set_id,
        [*keys],
    )
    pictures = [read_picture(row) for row in rows]
    known = await read_known(connection, set_id)
    await connection.execute(
        "update set_takes set state = 'rejected', reasons = $3 where set_id = $1 and key = any($2::text[])"
        " and state = 'accepted'",
        set_id,
        [picture.key for picture in pictures],
        [BY_PERSON],
    )
    await plan_takes(connection, [(set_id, make_remake(name, picture, known[picture.key])) for picture in pictures])
    return tuple(sorted(picture.key for picture in pictures))


BY_PERSON = "rejected by a person"


def read_picture(row: Row) -> WantedPicture:
    """Read a picture from a row that has its columns."""
    return WantedPicture(
        key=row["key"],
        task=row["task"],
        checks=tuple(row["checks"]),
        first_seed=row["first_seed"],
        settings=row["settings"],
        sources=row["sources"],
        digest=row["digest"],
    )
