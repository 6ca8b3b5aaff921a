"""Batch files over HTTP: forecast and submitted as they are written, with each problem at its place in the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from corral.scheduling.estimating import Estimate, WaitingWork
from corral.server.services import Services
from doubles.serving import Serving, serving

ROUTE = "/corral/v1/batches/file"
SEEN_AT = datetime(2026, 11, 30, 22, tzinfo=UTC)


def a_file(*tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"file": {"apiVersion": "corral/v1", "kind": "Batch", "name": "night", **fields, "tasks": list(tasks)}}


def estimate(waiting: Sequence[WaitingWork], /, *, by: datetime | None = None) -> Estimate:
    """Stands for the dispatcher's estimate: each task takes a minute, one after the other."""
    ends_at = SEEN_AT + timedelta(minutes=sum(work.count for work in waiting))
    return Estimate(seen_at=SEEN_AT, ends_at=ends_at, done_by=None)


NAPS = {"name": "nap", "engine": "sleep", "matrix": {"seconds": [0, 1, 2]}, "count": 2}


async def test_a_forecast_says_what_a_file_stands_for_and_stores_nothing(services: Services) -> None:
    async with serving(replace(services, estimate=estimate)) as api:
        before = await api.post("/corral/v1/tasks", {"engine": "sleep", "inputs": {"seconds": 1}})
        answer = await api.post(f"{ROUTE}/forecast", a_file(NAPS, by="2999-01-01T00:00:00Z"))
        tasks = (await api.get("/corral/v1/tasks")).json["items"]

    assert answer.status == 200, answer.body
    forecast = answer.json
    assert (forecast["name"], forecast["task_count"]) == ("night", 6)
    assert [(task["name"], task["inputs"]) for task in forecast["tasks"][:3]] == [
        ("nap-1", {"seconds": 0}),
        ("nap-2", {"seconds": 0}),
        ("nap-3", {"seconds": 1}),
    ]
    assert datetime.fromisoformat(forecast["ready_at"]) == SEEN_AT + timedelta(minutes=6)
    assert datetime.fromisoformat(forecast["ready_after_all"]) == SEEN_AT + timedelta(minutes=7)
    assert forecast["unknown"] is None
    assert forecast["deadline"]["verdict"] == "in_time"
    assert forecast["caution"]["code"] == "slots.none"
    assert [task["id"] for task in tasks] == [before.json["id"]]


async def test_what_was_never_measured_has_no_end_and_says_why(api: Serving) -> None:
    forecast = (await api.post(f"{ROUTE}/forecast", a_file(NAPS))).json

    assert forecast["ready_at"] is None
    assert "was measured here" in forecast["unknown"]


async def test_a_file_is_submitted_once_for_a_key_and_draws_the_same_again(api: Serving) -> None:
    task = {"name": "say", "engine": "piper", "model": "joe", "inputs": {"text": "a __colour__ barn"}, "count": 3}
    asked = a_file(task, wildcards={"colour": ["red", "green", "blue"]})
    first = await api.post(ROUTE, asked, headers={"Idempotency-Key": "k"})
    again = await api.post(ROUTE, asked, headers={"Idempotency-Key": "k"})

    assert (first.status, again.status) == (201, 200), first.body
    assert again.json == {**first.json, "replayed": True}
    assert [task["name"] for task in first.json["tasks"]] == ["say-1", "say-2", "say-3"]
    stored = (await api.get(f"/corral/v1/tasks/{first.json['tasks'][0]['id']}")).json
    assert stored["inputs"]["text"] in {"a red barn", "a green barn", "a blue barn"}


async def test_every_problem_of_a_file_has_its_place_in_it(api: Serving) -> None:
    shape = a_file({**NAPS, "matrix": {"seconds": [0, "soon"]}, "files": {"a.txt": "./a.txt"}, "priority": "urgent"})
    for route in (ROUTE, f"{ROUTE}/forecast"):
        answer = await api.post(route, shape)
        assert answer.status == 422
        assert {problem["where"] for problem in answer.json["error"]["problems"]} == {"tasks[0].priority"}

    content = a_file({**NAPS, "matrix": {"seconds": [0, "soon"]}, "files": {"a.txt": "./a.txt"}})
    problems = (await api.post(ROUTE, content)).json["error"]["problems"]
    assert {problem["where"] for problem in problems} == {
        "tasks[0].matrix.seconds",
        "tasks[0].files",  # the engine takes none
        'tasks[0].files["a.txt"]',
    }

    of_the_queue = a_file({**NAPS, "queue": "nowhere"}, by="2001-01-01T00:00:00Z")
    problems = (await api.post(f"{ROUTE}/forecast", of_the_queue)).json["error"]["problems"]
    assert {problem["where"] for problem in problems} == {"tasks[0].queue", "by"}
    assert (await api.get("/corral/v1/tasks")).json["items"] == []


async def test_a_file_of_another_machine_reads_no_files_of_the_server(api: Serving) -> None:
    task = {"name": "say", "engine": "piper", "model": "joe", "prompts": "/etc/passwd"}
    workflow = {"name": "draw", "engine": "comfyui", "inputs": {"workflow": "/etc/hosts"}}
    answer = await api.post(ROUTE, a_file(task, workflow))

    assert answer.status == 422
    problems = {problem["where"]: problem["what"] for problem in answer.json["error"]["problems"]}
    assert problems == {
        "tasks[0].prompts": "the server reads no files that a batch file names: /etc/passwd",
        "tasks[1].inputs.workflow": "the server reads no files that a batch file names: /etc/hosts",
    }


async def test_a_small_file_that_means_too_much_is_refused_before_its_tasks_are_made(api: Serving) -> None:
    large = a_file({"name": "t", "engine": "llama", "model": "m", "inputs": {"prompt": "p" * 14_000}, "count": 10_000})
    for route in (ROUTE, f"{ROUTE}/forecast"):
        answer = await api.post(route, large)
        (problem,) = answer.json["error"]["problems"]
        assert (answer.status, problem["code"], problem["where"]) == (422, "batchfile.too_large", "tasks[0]")


async def test_engines_say_what_a_form_for_them_needs(api: Serving) -> None:
    engines = {engine["name"]: engine for engine in (await api.get("/corral/v1/engines")).json["items"]}

    comfyui, whisper = engines["comfyui"], engines["whisper"]
    assert (comfyui["text_input"], comfyui["seed_input"], comfyui["object_inputs"]) == ("prompt", "seed", ["workflow"])
    assert (whisper["needs_model"], whisper["files"]["minimum"], whisper["files"]["maximum"]) == (True, 1, 1)
    assert [name for name, engine in engines.items() if engine["admin_only"]] == ["command", "job"]
