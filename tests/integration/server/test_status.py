"""`corral status`: the server, the queue and the slots as they are, on one screen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from corral.operations.status import Disk, judge
from corral.scheduling.estimating import Estimate, WaitingWork
from corral.scheduling.values import RunningTask
from corral.server.services import Services
from corral.slots.values import PlaceView
from corral.tasks.board import Progress
from corral.units import Bytes
from corral.work import SlotId
from doubles import queue_life
from doubles.installed import a_home, a_terminal
from doubles.serving import Serving, serving
from doubles.slots_shown import a_place_view

SLEEP = {"engine": "sleep", "inputs": {"seconds": 0}}
GIB = 2**30
LINES, COLUMNS = 40, 80


def a_busy_place(task: int, device: str, expected_end: datetime | None = None) -> PlaceView:
    place = a_place_view("sleep", device=device)
    running = RunningTask(
        task=task,
        owner="local",
        queue="default",
        engine="sleep",
        model=None,
        memory=None,
        started_at=datetime.now(UTC),
        expected_end=expected_end,
    )
    return replace(place, facts=replace(place.facts, running=(running,)))


async def test_status_says_what_waits_runs_and_ends(api: Serving, services: Services) -> None:
    made = await api.post("/corral/v1/batches", {"name": "night", "tasks": [{**SLEEP, "name": f"n{i}"} for i in "abc"]})
    first = made.json["tasks"][0]["id"]
    attempt = await queue_life.start(services.pool, first, "node/cpu0/sleep")
    services.board.set_leading(1)
    services.board.show_slots(lambda: (a_place_view("llama"), a_busy_place(first, "node/cpu0")))
    services.board.publish(
        Progress(task=first, batch=1, attempt=attempt, slot=SlotId("node/cpu0/sleep"), fraction=0.5, note="half",
                 at=datetime.now(UTC))
    )  # fmt: skip

    status = (await api.get("/corral/v1/status")).json

    assert (status["leading"], status["waiting"], status["running"]) == (True, 2, 1)
    assert status["counts"] == {"default": {"queued": 2, "running": 1}}
    assert [(queue["name"], queue["waiting"], queue["running"]) for queue in status["queues"]] == [
        ("default", 2, 1),
        ("small", 0, 0),
    ]
    assert status["oldest_at"] is not None
    assert status["database_bytes"] > 1_000_000
    assert 0 < status["disk"]["free"] <= status["disk"]["total"]
    busy, idle = status["slots"]
    assert (busy["id"], busy["task"]["name"], busy["task"]["batch"]) == ("node/cpu0/sleep", "na", 1)
    assert (busy["task"]["fraction"], busy["task"]["note"]) == (0.5, "half")
    assert (idle["id"], idle["task"]) == ("node/gpu0/llama", None)


async def test_expected_end_is_asked_of_the_dispatcher_with_what_has_not_started(services: Services) -> None:
    asked: list[WaitingWork] = []
    end = datetime(2030, 1, 1, tzinfo=UTC)

    def estimate(waiting: Sequence[WaitingWork], /, *, by: datetime | None = None) -> Estimate:
        asked.extend(waiting)
        return Estimate(seen_at=datetime.now(UTC), ends_at=end, done_by=None)

    async with serving(replace(services, estimate=estimate)) as api:
        made = await api.post("/corral/v1/batches", {"name": "night", "tasks": [SLEEP] * 3})
        await queue_life.start(services.pool, made.json["tasks"][0]["id"])
        status = (await api.get("/corral/v1/status")).json

    assert datetime.fromisoformat(status["expected_end"]) == end
    assert asked == [WaitingWork(queue="default", engine="sleep", model=None, count=2)]


async def test_a_paused_queue_with_tasks_and_an_engine_that_fails_are_alarms(api: Serving, services: Services) -> None:
    services.board.show_slots(lambda: (a_place_view("llama", problems={"llama": "no such library"}),))
    await api.post("/corral/v1/tasks", SLEEP)
    assert [alarm["code"] for alarm in (await api.get("/corral/v1/status")).json["alarms"]] == ["slot_problem"]
    await api.post("/corral/v1/queues/default/pause")
    alarms = (await api.get("/corral/v1/status")).json["alarms"]
    assert [alarm["code"] for alarm in alarms] == ["queue_closed", "slot_problem"]
    assert alarms[0]["what"] == "queue default is paused, tasks that wait in it: 1"


async def test_what_parts_of_the_server_raised_is_an_alarm_too(api: Serving, services: Services) -> None:
    services.alarms.ring("retention", "nothing was collected: disk full")
    alarm = (await api.get("/corral/v1/status")).json["alarms"][0]
    assert (alarm["code"], alarm["what"]) == ("retention", "nothing was collected: disk full")


def test_a_disk_that_runs_full_is_an_alarm_before_it_is_full() -> None:
    def codes(free: int) -> list[str]:
        disk = Disk(free=Bytes(free), total=Bytes(100 * GIB), reserve=Bytes(GIB // 4))
        return [alarm.code for alarm in judge(disk, Path("/data"), (), ())]

    assert [codes(20 * GIB), codes(5 * GIB), codes(GIB // 2)] == [[], ["disk_low"], ["disk_full"]]


async def test_status_of_a_busy_server_fits_on_one_screen(api: Serving, services: Services) -> None:
    name = "a-portrait-with-a-name-that-goes-on-" * 2
    made = await api.post(
        "/corral/v1/batches", {"name": "b", "tasks": [{**SLEEP, "name": f"{name}{i}"} for i in range(40)]}
    )
    ids = [task["id"] for task in made.json["tasks"]]
    end = datetime.now(UTC) + timedelta(minutes=3)
    busy = [a_busy_place(id, f"workstation-{id}/gpu0", end) for id in ids[:20]]
    failing = [a_place_view("llama", device=f"n{i}/gpu0", problems={"llama": "no library " * 9}) for i in range(9)]
    services.board.show_slots(lambda: (*busy, *failing))

    def show() -> str:
        with a_home() as home, a_terminal(home, "status", "--url", api.url, columns=COLUMNS) as terminal:
            shown = terminal.rest()
            assert terminal.exit_code() == 0
            return shown

    lines = (await asyncio.to_thread(show)).splitlines()
    assert max(map(len, lines)) <= COLUMNS
    assert len(lines) <= LINES, "\n".join(lines)
    assert lines[0].startswith("server")
    assert any(line.startswith("alarm") for line in lines)
