"""The database stands still in the middle of work, then goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from chaos.client import PatientClient
from chaos.killer import postmaster

START_S = 60.0
OWN_BATCH = "outage"
ONCE = ["submitted", "leased", "started", "succeeded"]


async def outage(client: PatientClient, data_dir: Path, *, seconds: float, slots: int) -> list[str]:
    """Stop the database under tasks that end meanwhile; return what went wrong with them.

    They are critical, so they start next, and each must run once: its outcome is written when the database is back.
    """
    await client.leading()
    task = {"engine": "sleep", "inputs": {"seconds": seconds / 2}, "priority": "critical", "class": "interactive"}
    tasks = [{**task, "name": f"{OWN_BATCH}-{index}"} for index in range(slots)]
    ids = [made["id"] for made in (await client.post("/corral/v1/batches", _batch(tasks), key=OWN_BATCH))["tasks"]]
    await _all(client, ids, {"running"}, START_S)
    _signal(data_dir, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    _signal(data_dir, signal.SIGCONT)
    await _all(client, ids, {"succeeded", "failed", "cancelled"}, START_S)
    stories = {id: [line["kind"] for line in (await client.get(f"/corral/v1/tasks/{id}/story"))["items"]] for id in ids}
    return [f"outage: task {id} did not run once: {kinds}" for id, kinds in stories.items() if kinds != ONCE]


def _batch(tasks: Sequence[Mapping[str, object]]) -> dict[str, object]:
    return {"name": OWN_BATCH, "tasks": tasks}


async def _all(client: PatientClient, ids: list[int], states: set[str], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while {(await client.get(f"/corral/v1/tasks/{id}"))["state"] for id in ids} - states:  # noqa: ASYNC110 (it is remote)
            await asyncio.sleep(0.1)


def _signal(data_dir: Path, number: int) -> None:
    pid = postmaster(data_dir)
    assert pid is not None, "the database runs while nobody kills it"
    main = psutil.Process(pid)
    for process in (main, *main.children()):
        os.kill(process.pid, number)
