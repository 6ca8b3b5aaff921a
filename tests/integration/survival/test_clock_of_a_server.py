"""The wall clock of a server and its database moves by hours, as after a suspend, while a task runs and one waits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chaos.client import PatientClient
from chaos.kept import corral_up, keeping
from doubles.moved_clock import MovedClock

EVENING = datetime(2026, 11, 28, 20, 0, tzinfo=UTC)
CLUSTER = "apiVersion: corral/v1\nname: desk\nnodes: [{name: desk}]\nengines: {sleep: {enabled: true}}\n"
TASK = {"engine": "sleep", "inputs": {"seconds": 2}, "max_attempts": 1}


async def test_a_task_goes_on_when_the_clock_moves_by_hours_and_later_ones_start_at_their_time(
    short_folder: Path,
) -> None:
    clock = MovedClock(short_folder, EVENING)
    cluster = short_folder / "cluster.yaml"
    cluster.write_text(CLUSTER)
    server = corral_up(short_folder / "data", cluster, short_folder / "up.log", env=clock.environment)

    async with keeping(server), PatientClient(short_folder / "data") as client:
        running = await client.post("/corral/v1/tasks", TASK)
        later = await client.post("/corral/v1/tasks", TASK | {"not_before": (EVENING + timedelta(hours=3)).isoformat()})
        async with asyncio.timeout(30):
            while (await client.get(f"/corral/v1/tasks/{running['id']}"))["state"] != "running":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        clock.move_to(EVENING + timedelta(hours=4))
        ended = [await client.get(f"/corral/v1/tasks/{task['id']}/wait?timeout=60") for task in (running, later)]

    assert [(task["state"], task["attempts"]) for task in ended] == [("succeeded", 0)] * 2, (
        "none was lost or tried again"
    )
    assert datetime.fromisoformat(ended[0]["created_at"]).date() == EVENING.date()
