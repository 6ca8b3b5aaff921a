"""A million lines of story by many writers at once; readers that resume anywhere see each once and in order.

`python tests/chaos/story.py --lines 1000000 --writers 12 --readers 4`. The exit code is 0 only if they did.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as pytest does with the folder of the tests

from corral.server.database import EmbeddedDatabase
from corral.tasks.migrations import migrate
from corral.tasks.store.pool import open_pool
from doubles.short_folders import lend_short_folder
from doubles.story_load import follow_story, write_story


def main() -> int:
    """Write, read, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--writers", type=int, default=12)
    parser.add_argument("--readers", type=int, default=4)
    return asyncio.run(_run(parser.parse_args()))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _run(options: argparse.Namespace) -> int:
    with lend_short_folder("corral-story") as folder:
        database = EmbeddedDatabase(folder / "pg")
        url = await database.start()
        try:
            await migrate(url)
            return await _compare(url, options)
        finally:
            await database.stop()


async def _compare(url: str, options: argparse.Namespace) -> int:
    writers, readers = await open_pool(url, size=options.writers), await open_pool(url, size=options.readers)
    begun = time.perf_counter()
    written = asyncio.create_task(write_story(writers, lines=options.lines, writers=options.writers, seed=options.seed))
    reading = [
        asyncio.create_task(follow_story(readers, all_written=written.done, seed=seed))
        for seed in range(options.readers)
    ]
    kept = await written
    took = time.perf_counter() - begun
    seen = await asyncio.gather(*reading)
    everything = [row["id"] for row in await readers.fetch("select id from events order by id")]
    right = sum(ids == everything for ids in seen)
    say(f"seed {options.seed}: {kept} lines by {options.writers} writers in {took:.0f} s;")
    say(f"{right} of {options.readers} readers saw each of {len(everything)} lines once and in order")
    await writers.close()
    await readers.close()
    return 0 if right == options.readers and len(everything) == kept else 1


if __name__ == "__main__":
    sys.exit(main())
