"""The one picture that goes with the end of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from corral.cluster.receivers import Occasion
from corral.errors import CorralError
from corral.notifications.outbox import Message
from corral.notifications.people import Picture
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.store.pool import Queries
from corral.tasks.values import Sha256

LARGEST = 5 * 1024 * 1024
"""Bytes; the strictest of the large services takes 8 MB."""


async def find_picture(pool: Queries, artifacts: ArtifactStore, messages: Sequence[Message]) -> Picture | None:
    """Find the first picture of the first batch that has ended; None where there is none, or not here."""
    batches = [message.batch for message in messages if message.occasion is Occasion.BATCH_ENDED]
    if not batches:
        return None
    row = await pool.fetchrow(
        """
        select o.sha256, o.name, o.media_type from outputs o join tasks t on t.id = o.task_id
        where t.batch_id = $1 and t.state = 'succeeded' and o.media_type in ('image/png', 'image/jpeg', 'image/webp')
          and o.size <= $2 order by t.id, o.name limit 1
        """,
        batches[0],
        LARGEST,
    )
    if row is None:
        return None
    try:
        path = await asyncio.to_thread(artifacts.check, Sha256(row["sha256"].hex()))
    except (CorralError, OSError):
        return None
    return Picture(path=str(path), name=row["name"], media_type=row["media_type"])
