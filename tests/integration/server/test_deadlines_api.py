"""Deadlines over HTTP: taken with a verdict, shown, and refused where they have passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from corral.cluster.prices import Electricity, TariffWindow
from corral.hours import find_machine_zone, make_hours
from corral.scheduling.estimating import Estimate, WaitingWork
from corral.server.services import Services
from corral.tasks.store.dispatching import read_ready_tasks_after
from doubles import queue_life
from doubles.serving import Serving, serving

HOUR = timedelta(hours=1)


def an_estimator(length: timedelta):
    """Estimates that a task takes so long, one after the other."""

    def estimate(waiting: Sequence[WaitingWork], /, *, by: datetime | None = None) -> Estimate:
        now, count = datetime.now(UTC), sum(work.count for work in waiting)
        done = None if by is None else min(count, (by - now) // length)
        return Estimate(seen_at=now, ends_at=now + count * length, done_by=done)

    return estimate


async def submit(api: Serving, by: str | None, tasks: int = 4) -> dict[str, Any]:
    task = {"engine": "sleep", "inputs": {"seconds": 0}}
    asked = {"name": "night", "tasks": [task] * tasks, **({} if by is None else {"by": by})}
    return (await api.post("/corral/v1/batches", asked)).json


def ahead(span: timedelta) -> str:
    return (datetime.now(UTC) + span).isoformat()


@pytest.mark.parametrize(
    ("left", "verdict", "done_by"), [(20 * HOUR, "in_time", 4), (5 * HOUR, "tight", 4), (2.5 * HOUR, "late", 2)]
)
async def test_a_batch_is_taken_with_whether_it_will_be_in_time(
    services: Services, left: timedelta, verdict: str, done_by: int
) -> None:
    async with serving(replace(services, estimate=an_estimator(HOUR))) as api:
        batch = (await submit(api, ahead(left)))["batch"]
        assert (batch["deadline"]["verdict"], batch["deadline"]["done_by"]) == (verdict, done_by)
        start = datetime.fromisoformat(batch["deadline"]["latest_start"])
        assert abs(datetime.fromisoformat(batch["by"]) - start - 4 * HOUR) < timedelta(minutes=1)
        shown = (await api.get(f"/corral/v1/batches/{batch['id']}")).json
        (listed,) = (await api.get("/corral/v1/batches")).json["items"]
        assert shown["by"] == listed["by"] == batch["by"]
        assert shown["deadline"]["verdict"] == listed["deadline"]["verdict"] == verdict


async def test_work_of_others_makes_a_deadline_tight(services: Services) -> None:
    async with serving(replace(services, estimate=an_estimator(HOUR))) as api:
        assert (await submit(api, None, tasks=18))["batch"]["deadline"] is None
        assert (await submit(api, ahead(20 * HOUR)))["batch"]["deadline"]["verdict"] == "tight"


async def test_a_time_of_the_clock_is_the_next_one_of_the_clusters_zone(api: Serving) -> None:
    batch = (await submit(api, "07:00"))["batch"]
    by = datetime.fromisoformat(batch["by"])
    assert timedelta(0) < by - datetime.now(UTC) <= timedelta(hours=25)
    deadline = dict(batch["deadline"])
    assert deadline.pop("time_zone") == find_machine_zone()
    assert deadline == {
        "verdict": "unknown", "ready_at": None, "ready_after_all": None, "latest_start": None, "done_by": None
    }  # fmt: skip


async def test_a_deadline_that_has_passed_is_refused(api: Serving) -> None:
    answer = await submit(api, ahead(-HOUR))
    (problem,) = answer["error"]["problems"]
    assert (problem["code"], problem["where"]) == ("submission.deadline_passed", "by")


async def test_of_a_batch_that_is_done_it_is_said_whether_it_was_in_time(api: Serving, services: Services) -> None:
    made = await submit(api, ahead(HOUR), tasks=1)
    await queue_life.succeed(services.pool, made["tasks"][0]["id"])
    path = f"/corral/v1/batches/{made['batch']['id']}"
    assert (await api.get(path)).json["deadline"]["verdict"] == "met"
    await services.pool.execute("update batches set by = by - interval '2 hours'")
    assert (await api.get(path)).json["deadline"]["verdict"] == "missed"


async def test_a_retry_has_no_deadline(api: Serving, services: Services) -> None:
    made = await submit(api, ahead(HOUR), tasks=1)
    await queue_life.fail(services.pool, made["tasks"][0]["id"])
    again = (await api.post(f"/corral/v1/batches/{made['batch']['id']}/retry")).json
    assert again["batch"]["by"] is None


async def test_a_batch_waits_for_cheap_power_only_where_there_are_prices(services: Services) -> None:
    asked = {"name": "night", "when": "cheap", "tasks": [{"engine": "sleep", "inputs": {"seconds": 0}}]}
    async with serving(services) as api:
        answer = (await api.post("/corral/v1/batches", asked)).json
        assert [problem["code"] for problem in answer["error"]["problems"]] == ["submission.no_tariff"]
    night = TariffWindow(price_per_kwh=0.2, hours=make_hours({"daily": ((0, 360),)}, zone="UTC"))
    tariff = Electricity(price_per_kwh=0.3, tariff=(night,))
    cluster = replace(services.in_effect.cluster, electricity=tariff)
    in_effect = replace(services.in_effect, cluster=cluster)  # pyright: ignore[reportArgumentType]  a double, a dataclass
    async with serving(replace(services, in_effect=in_effect)) as api:
        batch = (await api.post("/corral/v1/batches", asked)).json["batch"]
        assert (await api.get(f"/corral/v1/batches/{batch['id']}")).json["when"] == "cheap"
    (ready,) = await read_ready_tasks_after(services.pool, 0, 9)
    assert (ready.task.waits_for_cheap, ready.task.deadline) == (True, None)


async def test_the_status_has_open_batches_with_deadlines_the_earliest_first(services: Services) -> None:
    cluster = replace(services.in_effect.cluster, time_zone="Asia/Tokyo")
    in_effect = replace(services.in_effect, cluster=cluster)  # pyright: ignore[reportArgumentType]  a double, a dataclass
    async with serving(replace(services, estimate=an_estimator(HOUR), in_effect=in_effect)) as api:
        later = await submit(api, ahead(20 * HOUR))
        sooner = await submit(api, ahead(2.5 * HOUR))
        status = (await api.get("/corral/v1/status")).json
    listed = [(deadline["batch"], deadline["verdict"], deadline["open"]) for deadline in status["deadlines"]]
    assert listed == [(sooner["batch"]["id"], "late", 4), (later["batch"]["id"], "in_time", 4)]
    assert {deadline["time_zone"] for deadline in status["deadlines"]} == {"Asia/Tokyo"}


async def test_all_that_is_wrong_with_a_batch_and_its_times_is_reported_at_once(api: Serving) -> None:
    task = {"engine": "sleep", "inputs": {"seconds": 0}, "queue": "nowhere"}
    asked = {"name": "night", "when": "cheap", "by": ahead(-HOUR), "notify": ["nobody"], "tasks": [task]}
    problems = (await api.post("/corral/v1/batches", asked)).json["error"]["problems"]
    codes = {"submission.unknown_queue", "submission.notify", "submission.deadline_passed", "submission.no_tariff"}
    assert {problem["code"] for problem in problems} == codes


async def test_a_time_that_cannot_be_read_is_refused_with_how_to_write_it(api: Serving) -> None:
    asked = {"name": "night", "by": "25:00", "tasks": [{"engine": "sleep", "inputs": {"seconds": 0}}]}
    (problem,) = (await api.post("/corral/v1/batches", asked)).json["error"]["problems"]
    assert (problem["where"], problem["what"]) == ("by", "not an instant: '25:00'")
    assert "07:00" in problem["hint"]
