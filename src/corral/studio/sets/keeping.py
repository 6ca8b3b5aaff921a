"""The takes that are under way in the database, as the keeper brings them forward.

A take is planned, made, checked, and then it has ended. Each step is one guarded UPDATE from the state before it, so a
step that was already done changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from corral.narrowing import as_object
from corral.studio.quality.deciding import Verdict
from corral.studio.sets.planning import NewTake
from corral.studio.sets.store import plan_takes, read_picture
from corral.studio.sets.values import PictureState, WantedPicture
from corral.tasks.store.leading import require_lead
from corral.tasks.store.pool import Connection, Pool, Queries, Row
from corral.work import Json

Place = tuple[int, str]
"""A set and the key of one of its pictures."""
STEP = 200
"""Takes that are brought forward at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTake:
    """A take that is under way, with its picture and its set."""

    set_id: int
    set_name: str
    owner: str
    token: str | None
    """Whose usage its tasks count for."""
    number: int
    round: int
    seed: int
    picture: WantedPicture
    file: Mapping[str, Json]
    """Of the set."""

    @property
    def label(self) -> str:
        """The name of its tasks: a plain one, as outputs are written to folders by it."""
        return "-".join((self.set_name, *self.picture.key.split("/"), str(self.number)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeTake:
    """A take whose task has ended."""

    take: OpenTake
    task: int
    problem: str | None
    """Why there is no picture; None where there is one."""
    output: str = ""
    sha256: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedTake:
    """A take whose checks have ended."""

    take: OpenTake
    problem: str | None
    """Why it is not measured; None where it is."""
    results: tuple[Mapping[str, Json], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A take that has ended, and what follows."""

    take: OpenTake
    measurements: Mapping[str, float]
    phash: str | None
    verdict: Verdict
    next: NewTake | None
    """The take that is made instead; None of an accepted one, and where the set allows no more."""


_OPEN = """
select t.set_id, s.name as set_name, s.owner, s.key as token, s.file, t.number, t.round, t.seed,
  p.key, p.task, p.checks, p.first_seed, p.settings, p.sources, p.digest
"""
_FROM = "from set_takes t join set_pictures p using (set_id, key) join sets s on s.id = t.set_id"
_ORDER = f"order by t.set_id, t.key limit {STEP}"


async def list_planned(pool: Queries, after: Place) -> tuple[OpenTake, ...]:
    """Return takes without a task, those after a set and a key."""
    rows = await pool.fetch(
        f"{_OPEN} {_FROM} where t.state = 'planned' and (t.set_id, t.key) > ($1, $2) {_ORDER}", *after
    )
    return tuple(map(_read_take, rows))


async def list_made(pool: Queries, after: Place) -> tuple[MadeTake, ...]:
    """Return takes whose task has ended, or was deleted, those after a set and a key."""
    rows = await pool.fetch(
        f"""
        {_OPEN}, t.task as task_id, k.state as task_state, k.error, o.name as output, o.sha256
        {_FROM} left join tasks k on k.id = t.task
        left join lateral (select name, sha256 from outputs where task_id = k.id and media_type like 'image/%'
                           order by name limit 1) o on true
        where t.state = 'making' and (k.id is null or k.finished_at is not null)
          and (t.set_id, t.key) > ($1, $2) {_ORDER}
        """,
        *after,
    )
    return tuple(
        MadeTake(
            take=_read_take(row),
            task=row["task_id"],
            problem=_find_problem(row["task_state"], row["error"])
            or ("its task made no picture" if row["output"] is None else None),
            output=row["output"] or "",
            sha256=row["sha256"] or b"",
        )
        for row in rows
    )


async def list_checked(pool: Queries, after: Place) -> tuple[CheckedTake, ...]:
    """Return takes whose checks have all ended, those after a set and a key."""
    rows = await pool.fetch(
        f"""
        {_OPEN}, c.checked
        {_FROM}, lateral (
          select coalesce(jsonb_agg(jsonb_build_object('state', k.state, 'error', k.error, 'result', k.result)
                                    order by place), '[]') as checked,
            coalesce(bool_and(k.id is null or k.finished_at is not null), true) as ended
          from unnest(t.checks) with ordinality as asked(id, place) left join tasks k on k.id = asked.id) c
        where t.state = 'checking' and c.ended and (t.set_id, t.key) > ($1, $2) {_ORDER}
        """,
        *after,
    )
    return tuple(map(_read_checked, rows))


def _read_checked(row: Row) -> CheckedTake:
    problems = [_find_problem(check["state"], check["error"]) for check in row["checked"]]
    problem = next((f"check {number}: {what}" for number, what in enumerate(problems, 1) if what), None)
    results = tuple(as_object(check["result"]) for check in row["checked"])
    return CheckedTake(take=_read_take(row), problem=problem, results=() if problem else results)


def _find_problem(state: str | None, error: Mapping[str, Json] | None) -> str | None:
    match state:
        case "succeeded":
            return None
        case None:
            return "its task was deleted"
        case "cancelled":
            return "its task was cancelled"
        case _:
            return str(as_object(error).get("what") or "its task failed")


def _read_take(row: Row) -> OpenTake:
    return OpenTake(
        set_id=row["set_id"],
        set_name=row["set_name"],
        owner=row["owner"],
        token=row["token"],
        number=row["number"],
        round=row["round"],
        seed=row["seed"],
        picture=read_picture(row),
        file=row["file"],
    )


async def find_tasks(pool: Queries, owner: str, keys: Sequence[str]) -> dict[str, int]:
    """Return the tasks that were submitted with these idempotency keys, as far as they were."""
    rows = await pool.fetch(
        "select key, task_id from idempotency_keys where owner = $1 and key = any($2::text[]) and task_id is not null",
        owner,
        [*keys],
    )
    return {row["key"]: row["task_id"] for row in rows}


async def read_hashes(pool: Queries, set_id: int) -> dict[str, str]:
    """Return the perceptual hashes of the accepted pictures of a set that are wanted, by key."""
    rows = await pool.fetch(
        "select t.key, t.phash from set_takes t join set_pictures p using (set_id, key)"
        " where t.set_id = $1 and t.state = 'accepted' and p.wanted and t.phash is not null",
        set_id,
    )
    return {row["key"]: row["phash"] for row in rows}


@asynccontextmanager
async def open_keeping(pool: Pool, epoch: int) -> AsyncGenerator[Connection]:
    """Open a transaction that writes as the leader. Raises: LeadLostError."""
    async with pool.acquire() as connection, connection.transaction():
        await require_lead(connection, epoch)
        yield connection


async def note_making(connection: Queries, tasks: Sequence[tuple[OpenTake, int]]) -> None:
    """Note the tasks that make takes."""
    await connection.executemany(
        "update set_takes set state = 'making', task = $4"
        " where set_id = $1 and key = $2 and number = $3 and state = 'planned'",
        [(*_name(take), task) for take, task in tasks],
    )


async def note_checking(connection: Queries, checks: Sequence[tuple[MadeTake, Sequence[int]]]) -> None:
    """Note the pictures that were made, and the tasks that check them."""
    await connection.executemany(
        "update set_takes set state = 'checking', output = $4, sha256 = $5, checks = $6::bigint[]"
        " where set_id = $1 and key = $2 and number = $3 and state = 'making'",
        [(*_name(made.take), made.output, made.sha256, [*tasks]) for made, tasks in checks],
    )


async def note_failed(connection: Queries, failures: Sequence[tuple[OpenTake, str]]) -> None:
    """Note takes of which nothing can be decided, and why."""
    for take, reason in failures:
        await _end(connection, take, "failed", PictureState.FAILED, {}, None, [reason])


async def note_judged(connection: Queries, judged: Sequence[Judged]) -> None:
    """Note verdicts, and plan the takes that follow."""
    for judgement in judged:
        verdict, take = judgement.verdict, judgement.take
        state = PictureState.ACCEPTED if verdict.accepted else PictureState.REJECTED
        after = PictureState.OPEN if judgement.next is not None else state
        reasons = [*verdict.reasons]
        ended = await _end(connection, take, state, after, judgement.measurements, judgement.phash, reasons)
        if ended and judgement.next is not None:
            await plan_takes(connection, [(take.set_id, judgement.next)])


async def _end(
    connection: Queries,
    take: OpenTake,
    state: str,
    picture: PictureState,
    measurements: Mapping[str, float],
    phash: str | None,
    reasons: Sequence[str],
) -> bool:
    """End a take, unless it has ended meanwhile; return whether it was ended now."""
    updated = await connection.execute(
        "update set_takes set state = $4, measurements = $5, phash = $6, reasons = $7, ended_at = now()"
        " where set_id = $1 and key = $2 and number = $3 and state in ('planned', 'making', 'checking')",
        *_name(take),
        state,
        dict(measurements),
        phash,
        [*reasons],
    )
    if updated != "UPDATE 1":
        return False
    await connection.execute(
        "update set_pictures set state = $3 where set_id = $1 and key = $2 and state = 'open'",
        take.set_id,
        take.picture.key,
        picture,
    )
    return True


def _name(take: OpenTake) -> tuple[int, str, int]:
    return take.set_id, take.picture.key, take.number
