"""Writers and readers of the story that get in each other's way as much as they can, by chance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress

from corral.tasks.store import story
from corral.tasks.store.pool import Pool
from corral.tasks.store.story import Entry

_LONGEST_PAUSE_S = 0.01
_FURTHEST_BACK = 5000
"""Lines that a reader goes back at most; further, it would never reach the end of a million."""


class _TakenBackError(Exception):
    """Rolls a transaction back after its lines have got their ids."""


async def write_story(pool: Pool, *, lines: int, writers: int, seed: int) -> int:
    """Write at least so many lines from so many writers at once; return how many were kept."""
    left = lines

    async def write(chance: random.Random) -> int:
        nonlocal left
        kept = 0
        while left > 0:
            size = chance.choice((1, 1, 1, 2, 10, 200))
            left -= size
            with suppress(_TakenBackError):
                async with story.open_writing(pool) as writing:
                    await story.append(writing, [Entry(kind="line")] * size)
                    if chance.random() < 0.3:
                        await asyncio.sleep(chance.random() * _LONGEST_PAUSE_S)
                    if chance.random() < 0.1:
                        raise _TakenBackError
                kept += size
        return kept

    return sum(await asyncio.gather(*(write(random.Random(seed * 1000 + number)) for number in range(writers))))


async def follow_story(pool: Pool, *, all_written: Callable[[], bool], seed: int) -> Sequence[int]:
    """Read pages of random sizes until all is written; resume from anywhere in between. Return the ids as seen."""
    chance = random.Random(seed)
    seen: list[int] = []
    while True:
        last_look = all_written()
        if chance.random() < 0.1:
            del seen[chance.randrange(max(0, len(seen) - _FURTHEST_BACK), len(seen) + 1) :]
        after, page = seen[-1] if seen else 0, chance.choice((1, 100, 1000, 5000))
        lines = await story.read(pool, after=after, up_to=await story.read_horizon(pool), limit=page)
        seen += [line.id for line in lines]
        if last_look and not lines:
            return seen
