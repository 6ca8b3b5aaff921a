"""Energy as it was measured: of each task, of usage, and of each device and hour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from uuid import UUID

from corral.hardware.power.measured import DeviceEnergy, DeviceHour
from corral.tasks.store.pool import Pool, Queries
from corral.tasks.store.usage import DOOR_OF_TASK, claim_sequence

KEPT_DAYS = 800
"""As long as usage."""


async def write_energy(
    pool: Pool,
    writer: UUID,
    sequence: int,
    *,
    tasks: Mapping[int, float],
    devices: Mapping[DeviceHour, DeviceEnergy],
    day: date,
) -> None:
    """Add joules to tasks, to the usage of their owners on `day` (UTC), and to devices.

    The same `sequence` of a writer again changes nothing. Raises: what asyncpg raises.
    """
    async with pool.acquire() as connection, connection.transaction():
        if not await claim_sequence(connection, writer, sequence):
            return
        if tasks:
            await _add_to_tasks(connection, tasks, day)
        await connection.executemany(
            """
            insert into device_energy as d (hour, device, joules, work_joules, seconds, worked_s)
            values ($1, $2, $3, $4, $5, $6)
            on conflict (hour, device) do update set
              joules = d.joules + excluded.joules,
              work_joules = d.work_joules + excluded.work_joules,
              seconds = d.seconds + excluded.seconds,
              worked_s = d.worked_s + excluded.worked_s
            """,
            [
                (at.hour, at.device, energy.joules, energy.work_joules, energy.seconds, energy.worked_s)
                for at, energy in sorted(devices.items(), key=lambda item: (item[0].hour, item[0].device))
            ],
        )


async def _add_to_tasks(connection: Queries, tasks: Mapping[int, float], day: date) -> None:
    ids, joules = [*tasks.keys()], [*tasks.values()]
    await connection.execute(
        """
        update tasks t set joules = coalesce(t.joules, 0) + m.joules
        from unnest($1::bigint[], $2::double precision[]) as m (id, joules) where t.id = m.id
        """,
        ids,
        joules,
    )
    await connection.execute(
        f"""
        with parts as materialized (select distinct unnest(parts) as id from client_batches)
        insert into usage as u (day, key, owner, model, cloud, engine, door, requests, prompt_tokens, completion_tokens,
          joules, metered)
        select $3::date, t.key, t.owner, coalesce(t.model, t.engine), null, t.engine, {DOOR_OF_TASK}, 0, 0, 0,
          sum(m.joules), count(*)
        from unnest($1::bigint[], $2::double precision[]) as m (id, joules) join tasks t on t.id = m.id
          left join prompts p on p.task_id = t.id left join parts on parts.id = t.batch_id
        group by 2, 3, 4, 6, 7 order by 2, 3, 4, 6, 7
        on conflict (day, key, owner, model, cloud, engine, door) do update set
          joules = coalesce(u.joules, 0) + excluded.joules, metered = u.metered + excluded.metered
        """,
        ids,
        joules,
        day,
    )


async def read_device_energy(pool: Queries, *, since: datetime, until: datetime) -> dict[DeviceHour, DeviceEnergy]:
    """Read what was measured of each device in the hours from `since` to before `until`."""
    rows = await pool.fetch(
        """
        select hour, device, joules, work_joules, seconds, worked_s from device_energy
        where hour >= date_trunc('hour', $1::timestamptz) and hour < $2
        """,
        since,
        until,
    )
    return {
        DeviceHour(hour=row["hour"], device=row["device"]): DeviceEnergy(
            joules=row["joules"],
            work_joules=row["work_joules"],
            seconds=row["seconds"],
            worked_s=row["worked_s"],
        )
        for row in rows
    }


async def forget_old_energy(pool: Queries, now: datetime) -> None:
    """Delete what was measured longer ago than `KEPT_DAYS`."""
    await pool.execute(f"delete from device_energy where hour < $1::timestamptz - interval '{KEPT_DAYS} days'", now)
