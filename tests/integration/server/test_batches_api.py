"""Batches over HTTP: all or nothing, and again what failed."""

from __future__ import annotations

from typing import Any

from corral.server.services import Services
from doubles import queue_life
from doubles.serving import Serving
from doubles.slots_shown import a_place_view

SLEEP: dict[str, Any] = {"engine": "sleep", "inputs": {"seconds": 0}}


async def batched(api: Serving, *tasks: dict[str, Any], **request: Any) -> dict[str, Any]:
    answer = await api.post(
        "/corral/v1/batches", {"name": "night", "tasks": [{**SLEEP, **task} for task in tasks]}, **request
    )
    assert answer.status == 201, answer.body
    return answer.json


async def test_batch_names_its_tasks_in_the_order_given(api: Serving) -> None:
    made = await batched(api, {"name": "b", "needs": ["a"]}, {"name": "a"})
    assert [task["name"] for task in made["tasks"]] == ["b", "a"]
    assert made["batch"]["states"] == {"waiting": 1, "queued": 1}
    assert made["batch"]["done"] is False
    listed = (await api.get("/corral/v1/batches")).json
    assert listed["items"] == [made["batch"]]


async def test_defaults_fill_what_a_task_leaves_out(api: Serving) -> None:
    asked = {
        "name": "night",
        "defaults": {"engine": "sleep", "priority": "low", "inputs": {"seconds": 5}},
        "tasks": [{}, {"priority": "high", "inputs": {"seconds": 1}}],
    }
    made = (await api.post("/corral/v1/batches", asked)).json
    first, second = [(await api.get(f"/corral/v1/tasks/{task['id']}")).json for task in made["tasks"]]
    assert (first["priority"], first["inputs"]) == ("low", {"seconds": 5})
    assert (second["priority"], second["inputs"]) == ("high", {"seconds": 1})
    assert first["name"] != second["name"]


async def test_one_wrong_task_refuses_the_whole_batch(api: Serving) -> None:
    tasks = [SLEEP, {**SLEEP, "inputs": {}}, {"queue": "nowhere"}]
    answer = await api.post("/corral/v1/batches", {"name": "night", "tasks": tasks})
    assert answer.status == 422
    places = {problem["where"].partition(" ")[0] for problem in answer.json["error"]["problems"]}
    assert places == {"tasks[1]", "tasks[2]"}
    assert (await api.get("/corral/v1/tasks")).json["items"] == []


async def test_replayed_batch_is_the_first_one(api: Serving) -> None:
    asked = {"name": "night", "tasks": [SLEEP]}
    first = await api.post("/corral/v1/batches", asked, headers={"Idempotency-Key": "k"})
    again = await api.post("/corral/v1/batches", asked, headers={"Idempotency-Key": "k"})
    assert (first.status, again.status) == (201, 200)
    assert again.json == {**first.json, "replayed": True}


async def test_cancelled_batch_ends_what_waits_and_asks_what_runs(api: Serving, services: Services) -> None:
    made = await batched(api, {"name": "a"}, {"name": "b", "needs": ["a"]}, {"name": "c"})
    ids = {task["name"]: task["id"] for task in made["tasks"]}
    await queue_life.start(services.pool, ids["c"])
    answer = await api.post(f"/corral/v1/batches/{made['batch']['id']}/cancel")
    assert answer.json["states"] == {"cancelled": 2, "running": 1}
    assert (await api.get(f"/corral/v1/tasks/{ids['c']}")).json["cancel_requested"] is True


async def test_retry_makes_a_batch_of_what_failed_over_what_succeeded(api: Serving, services: Services) -> None:
    made = await batched(api, {"name": "a"}, {"name": "b", "needs": ["a"]}, {"name": "c", "needs": ["b"]})
    ids = {task["name"]: task["id"] for task in made["tasks"]}
    batch = made["batch"]["id"]
    assert (await api.post(f"/corral/v1/batches/{batch}/retry")).status == 409
    await queue_life.succeed(services.pool, ids["a"])
    await queue_life.fail(services.pool, ids["b"])
    retried = await api.post(f"/corral/v1/batches/{batch}/retry")
    assert retried.status == 201
    assert [task["name"] for task in retried.json["tasks"]] == ["b", "c"]
    again = {task["name"]: (await api.get(f"/corral/v1/tasks/{task['id']}")).json for task in retried.json["tasks"]}
    assert again["b"]["needs"] == [ids["a"]]
    assert again["c"]["needs"] == [again["b"]["id"]]
    assert again["c"]["retry_of"] == ids["c"]


async def test_batch_that_does_not_exist_is_missing_everywhere(api: Serving) -> None:
    answers = [await api.get(f"/corral/v1/batches/7{path}") for path in ("", "/wait")]
    answers += [await api.post(f"/corral/v1/batches/7{path}") for path in ("/cancel", "/retry")]
    assert {(answer.status, answer.json["error"]["code"]) for answer in answers} == {(404, "batch.missing")}


async def test_batch_has_labels_and_its_defaults_give_more_to_each_task(api: Serving) -> None:
    tasks = [{"name": "a", "labels": {"take": "1"}}, {"name": "b", "labels": {"project": "other"}}]
    defaults = {"engine": "sleep", "inputs": {"seconds": 0}, "labels": {"project": "aurora"}}
    body = {"name": "takes", "labels": {"season": "winter"}, "defaults": defaults, "tasks": tasks}
    made = await api.post("/corral/v1/batches", body)
    assert made.status == 201, made.body
    assert made.json["batch"]["labels"] == {"season": "winter"}
    shown = [(await api.get(f"/corral/v1/tasks/{task['id']}")).json["labels"] for task in made.json["tasks"]]
    assert shown == [{"project": "aurora", "take": "1"}, {"project": "other"}]


async def test_a_batch_that_nothing_can_run_is_accepted_with_a_caution(api: Serving, services: Services) -> None:
    asked = {"name": "b", "tasks": [{"engine": "sleep", "inputs": {"seconds": 0}}]}
    caution = (await api.post("/corral/v1/batches", asked)).json["caution"]
    assert (caution["code"], caution["what"]) == ("slots.none", "this server has no slot, so nothing starts")
    assert "corral reload" in caution["hint"]
    services.board.show_slots(lambda: (a_place_view("sleep"),))
    assert (await api.post("/corral/v1/batches", asked)).json["caution"] is None
