"""What people set or bring next to tasks: uploads, and the gates of queues and slots.

A gate is open, paused (starts nothing) or draining (for a queue: takes nothing new). A change of a gate is appended to
the story, which wakes the dispatcher.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from corral.scheduling.values import Gate
from corral.tasks.store import story
from corral.tasks.store.pool import Pool, Queries
from corral.tasks.values import StoredFile


class Gated(StrEnum):
    """What has a gate."""

    SLOT = "slot"
    QUEUE = "queue"


async def gates(pool: Queries, kind: Gated) -> Mapping[str, Gate]:
    """Return the gates that are not open, by the name of the slot or queue."""
    rows = await pool.fetch("select name, gate from gates where kind = $1 and gate <> 'open'", kind.value)
    return {row["name"]: Gate(row["gate"]) for row in rows}


async def set_gate(pool: Pool, kind: Gated, name: str, gate: Gate) -> bool:
    """Set a gate and return whether that changed it; people cannot set `unhealthy`."""
    if gate is Gate.UNHEALTHY:
        raise ValueError("only observation makes a slot unhealthy")
    async with story.writing(pool) as writing:
        changed = await writing.connection.fetchval(
            """
            insert into gates (kind, name, gate) values ($1, $2, $3::text::gate)
            on conflict (kind, name) do update set gate = excluded.gate where gates.gate <> excluded.gate
            returning true
            """,
            kind.value,
            name,
            gate.value,
        )
        if changed:
            data = {"kind": kind.value, "name": name, "gate": gate.value}
            await story.append(writing, [story.Entry(kind="gate_changed", data=data)])
        return bool(changed)


async def record_upload(pool: Pool, owner: str, file: StoredFile) -> None:
    """Record an upload after its content is stored; the same content again counts as new for retention."""
    await pool.execute(
        """
        insert into uploads (sha256, owner, name, size, media_type) values ($1, $2, $3, $4, $5)
        on conflict (sha256, owner) do update
          set name = excluded.name, media_type = excluded.media_type, created_at = now()
        """,
        bytes.fromhex(file.sha256),
        owner,
        file.name,
        file.size,
        file.media_type,
    )
