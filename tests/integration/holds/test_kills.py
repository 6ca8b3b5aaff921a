"""Twenty SIGKILLs at random, of the server, of commands and of keepers, leave no hold and no process behind."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path

import psutil

from chaos.client import PatientClient
from chaos.kept import Kept
from corral.tasks.store.pool import Pool
from doubles.held_programs import HeldProgram, type_hold

KILLS = 20
GRANTED = 3
"""Holds that must have been granted by then; on a busy machine more kills pass until they are."""
MOST_KILLS = 120
AT_ONCE = 3
"""Commands that are kept going; one device means that the others wait."""
WORD = "7471"
SEED = 20261129


def kill_something(chance: random.Random, server: Kept, programs: list[HeldProgram]) -> str:
    """Kill the server, a command or a keeper; return which."""
    victim = chance.choice(("server", "command", "keeper"))
    if victim == "server":
        server.kill()
        return victim
    program = chance.choice(programs)
    with suppress(psutil.Error, ValueError, ProcessLookupError):  # it has ended, or has no keeper yet
        process = program.find_keeper() if victim == "keeper" else psutil.Process(program.process.pid)
        process.kill()
    return victim


async def start_program(folder: Path) -> HeldProgram:
    """Start a program that computes for a while alone; it notes when it is not alone."""
    alone = f"flock --nonblock {folder}/card sleep {WORD} || echo together >> {folder}/overlaps"
    return await type_hold(folder / "data", "--", "timeout", "2", "sh", "-c", alone, word=WORD)


async def count_granted(pool: Pool) -> int:
    """Count the holds that have had their turn."""
    return await pool.fetchval("select count(*) from holds where granted_at is not null") or 0


async def until_nothing_is_held(pool: Pool) -> None:
    async with asyncio.timeout(90):
        while await pool.fetchval(  # noqa: ASYNC110 (another process writes it)
            "select count(*) from tasks t join holds h on h.task_id = t.id where t.finished_at is null"
        ):
            await asyncio.sleep(0.1)


async def test_random_kills_leave_no_hold_and_no_process(
    client: PatientClient, folder: Path, server: Kept, pool: Pool
) -> None:
    chance = random.Random(SEED)
    programs: list[HeldProgram] = []
    all_programs: list[HeldProgram] = []
    for kill in range(MOST_KILLS):
        if kill >= KILLS and await count_granted(pool) >= GRANTED:
            break
        programs = [program for program in programs if program.process.returncode is None]
        while len(programs) < AT_ONCE:
            await client.leading()
            program = await start_program(folder)
            programs.append(program)
            all_programs.append(program)
        await asyncio.sleep(chance.uniform(0.2, 2.0))
        kill_something(chance, server, programs)
        await pool.execute("update holds set ttl = interval '8 s' where ttl > interval '8 s'")
    await client.leading()
    for program in programs:
        with suppress(ProcessLookupError):
            program.process.terminate()
    for program in all_programs:
        async with asyncio.timeout(60):
            await program.process.communicate()
    await until_nothing_is_held(pool)

    assert all_programs[0].list_left() == []
    assert not (folder / "overlaps").exists()
    assert await pool.fetchval("select count(*) from slot_leases") == 0
    assert await count_granted(pool) >= GRANTED
    assert (
        await pool.fetchval(
            "select coalesce(max(count), 0) from"
            " (select count(*) from events where kind = 'hold_granted' group by task_id) as grants"
        )
        == 1
    )
