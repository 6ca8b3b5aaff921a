"""Batches whose tasks are uploaded: checked as a whole, stored in steps, with the outline of each task in memory."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from corral.client.api import Api
from corral.client.large_batches import LARGEST_BODY, LARGEST_INPUTS, is_large, submit_large
from corral.client.remote_errors import RemoteInvalidError
from corral.cluster.values import EngineSettings
from corral.server.api.uploaded_batches import LARGEST_LINE, STEP_TASKS
from corral.server.services import Services
from corral.tasks.submission_checks import MAX_TASKS
from corral.tasks.values import Sha256
from corral.units import Bytes
from doubles.comfyui_workflows import text_to_image
from doubles.serving import Serving, serving

Json = Any
ROUTE = "/corral/v1/batches/uploaded"
NAP = {"engine": "sleep", "inputs": {"seconds": 1}}


@pytest.fixture
async def api(services: Services) -> AsyncIterator[Serving]:
    """The API, which takes uploads of the size of a part."""
    async with serving(services, max_upload=Bytes(16 * 2**20)) as api:
        yield api


async def upload(api: Serving, tasks: Sequence[Json], *, raw: bytes = b"") -> str:
    """Upload tasks as lines of JSON; return the name of their content."""
    content = raw or b"".join(json.dumps(task).encode() + b"\n" for task in tasks)
    return (await api.call("POST", "/corral/v1/uploads?name=tasks.jsonl", data=content)).json["sha256"]


async def submit(api: Serving, *parts: str, key: str | None = None, **fields: Json) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.post(ROUTE, {"name": "large", "tasks_in": list(parts), **fields}, headers=headers)


async def list_tasks(api: Serving, batch: int) -> list[Json]:
    return (await api.get(f"/corral/v1/tasks?batch={batch}&order=oldest&limit=500")).json["items"]


async def test_tasks_of_all_parts_are_those_of_a_batch_that_was_sent_at_once(api: Serving) -> None:
    tasks = [
        {"name": "first", "inputs": {"seconds": 2}, "labels": {"part": "one"}, "priority": "high"},
        {"name": "second", "needs": ["third"]},
        {"name": "third", "queue": "default", "timeout": "10m"},
    ]
    defaults = {"engine": "sleep", "inputs": {"seconds": 1}}

    uploaded = await submit(api, await upload(api, tasks[:2]), await upload(api, tasks[2:]), defaults=defaults)
    whole = await api.post("/corral/v1/batches", {"name": "large", "defaults": defaults, "tasks": tasks})

    assert uploaded.status == 201, uploaded.json
    assert uploaded.json["batch"]["task_count"] == 3
    pair = [await list_tasks(api, answered.json["batch"]["id"]) for answered in (uploaded, whole)]
    offset = pair[1][0]["id"] - pair[0][0]["id"]
    own = ("id", "batch", "created_at", "queued_at", "needs")
    assert [{k: v for k, v in task.items() if k not in own} for task in pair[0]] == [
        {k: v for k, v in task.items() if k not in own} for task in pair[1]
    ]
    assert [[need + offset for need in task["needs"]] for task in pair[0]] == [task["needs"] for task in pair[1]]
    story = (await api.get(f"/corral/v1/tasks/{pair[0][0]['id']}/story")).json["items"]
    assert [line["kind"] for line in story] == ["submitted"]


async def test_a_key_takes_a_batch_once_and_no_other(api: Serving) -> None:
    part, other = await upload(api, [NAP] * 3), await upload(api, [NAP] * 4)

    first, again, conflict = [await submit(api, digest, key="night") for digest in (part, part, other)]

    assert (first.status, first.json["replayed"]) == (201, False)
    assert (again.status, again.json) == (200, {**first.json, "replayed": True})
    assert (conflict.status, conflict.json["error"]["code"]) == (409, "submission.idempotency_conflict")
    assert len((await api.get("/corral/v1/tasks?limit=500")).json["items"]) == 3


async def test_everything_that_is_wrong_is_reported_with_the_number_of_its_task(api: Serving) -> None:
    lines = [
        json.dumps(NAP).encode(),
        b"{not json",
        json.dumps({"engine": "sleep", "inputs": {"second": 1}}).encode(),
        json.dumps({"engine": "sleep", "input": {}}).encode(),
        json.dumps({**NAP, "queue": "smal"}).encode(),
    ]
    part = await upload(api, [], raw=b"\n".join(lines))

    content = await submit(api, part)
    wrong: list[Json] = [
        {**NAP, "queue": "smal"},
        {**NAP, "name": "a", "needs": ["b"]},
        {"engine": "sleep", "inputs": {}},
    ]
    relations = await submit(api, await upload(api, wrong))

    assert content.status == 422
    places = [(problem["code"], problem["where"]) for problem in content.json["error"]["problems"]]
    assert places == [
        ("request.malformed_json", "tasks[1], line 1, column 2"),
        ("input.missing", "tasks[2] (sleep-3).inputs.seconds"),
        ("input.unknown", "tasks[2] (sleep-3).inputs.second"),
        ("request.unknown_name", "tasks[3].input"),
    ]
    assert [(problem["code"], problem["where"]) for problem in relations.json["error"]["problems"]] == [
        ("input.missing", "tasks[2] (sleep-3).inputs.seconds"),
        ("submission.unknown_queue", "tasks[0] (sleep-1).queue"),
        ("submission.unknown_needs", "tasks[1] (a).needs"),
    ]
    assert (await api.get("/corral/v1/batches")).json["items"] == []


async def test_what_is_not_uploaded_or_too_much_is_refused(api: Serving) -> None:
    part = await upload(api, [NAP])

    missing = await submit(api, part, "0" * 64)
    line = await submit(api, await upload(api, [], raw=b'{"name": "' + b"x" * LARGEST_LINE + b'"}'))
    many = await submit(api, await upload(api, [NAP] * (MAX_TASKS + 1)))
    empty = await submit(api, await upload(api, [], raw=b"\n\n"))

    assert (missing.status, missing.json["error"]["code"]) == (404, "upload.missing")
    assert (await api.get(f"/corral/v1/uploads/{'0' * 64}")).status == 404
    assert (await api.get(f"/corral/v1/uploads/{part}")).json["sha256"] == part
    assert [answer.json["error"]["problems"][0]["code"] for answer in (line, many, empty)] == [
        "submission.inputs_too_large",
        "submission.too_large",
        "submission.empty",
    ]


async def test_a_part_that_is_deleted_while_the_batch_is_read_is_named_and_nothing_is_stored(
    api: Serving, services: Services
) -> None:
    part = await upload(api, [NAP] * 3)
    path = services.artifacts.locate(Sha256(part))
    opened, is_watched = 0, True

    def delete_before_the_second_reading(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal opened
        if is_watched and event == "open" and arguments[0] == str(path):
            opened += 1
            if opened == 3:  # its checksum, its outline, its tasks
                path.unlink()

    sys.addaudithook(delete_before_the_second_reading)
    try:
        answered = await submit(api, part)
    finally:
        is_watched = False  # a hook cannot be removed

    assert (opened, answered.status, answered.json["error"]["code"]) == (3, 404, "artifact.missing")
    assert (await api.get("/corral/v1/batches")).json["items"] == []


async def test_engines_for_administrators_and_limits_of_owners_count(api: Serving) -> None:
    token = (await api.post("/corral/v1/tokens", {"name": "ada", "role": "submitter"})).json["token"]
    headers = {"Authorization": f"Bearer {token}"}
    content = json.dumps({"engine": "command", "inputs": {"argv": ["true"]}}).encode()
    digest = (await api.call("POST", "/corral/v1/uploads?name=a", data=content, headers=headers)).json["sha256"]

    denied = await api.post(ROUTE, {"name": "b", "tasks_in": [digest]}, headers=headers)
    foreign = await submit(api, digest)
    limited = await submit(api, await upload(api, [{**NAP, "queue": "small"}] * 3))

    assert (denied.status, denied.json["error"]["code"]) == (403, "auth.role")
    assert (foreign.status, foreign.json["error"]["code"]) == (404, "upload.missing")
    assert (limited.status, limited.json["error"]["code"]) == (429, "queue.owner_limit")


async def test_a_part_that_is_there_is_not_sent_again_and_none_is_kept_of_a_batch_that_is_stored(
    api: Serving, services: Services
) -> None:
    batch = {"name": "large", "defaults": {"engine": "sleep", "inputs": {"seconds": 1}}, "tasks": [{"name": "t"}]}

    async def list_parts() -> list[Json]:
        return await services.pool.fetch("select sha256, created_at from uploads")

    async with Api(api.url, None) as client:
        with pytest.raises(RemoteInvalidError):
            await submit_large(client, {**batch, "defaults": {"engine": "slep"}}, key="a")
        parts = await list_parts()
        with pytest.raises(RemoteInvalidError):
            await submit_large(client, {**batch, "defaults": {"engine": "sleeep"}}, key="b")
        assert (len(parts), await list_parts()) == (1, parts)

        stored = await submit_large(client, batch, key="c")
        again = await submit_large(client, batch, key="c")

    assert (stored["replayed"], again["replayed"]) == (False, True)
    assert await list_parts() == []


# --- what is large ---------------------------------------------------------------------------------------------------


def test_a_batch_is_large_by_its_body_or_by_what_it_becomes() -> None:
    def batch(count: int, own: int, common: int) -> Json:
        tasks = [{"name": f"t{number}", "inputs": {"text": "x" * own}} for number in range(count)]
        return {"name": "b", "defaults": {"inputs": {"more": "x" * common}}, "tasks": tasks}

    assert not is_large(batch(10, 1000, 1000))
    assert is_large(batch(40, LARGEST_BODY // 40, 0))
    assert is_large(batch(200, 10, LARGEST_INPUTS // 200))
    assert not is_large(batch(100, 10, LARGEST_INPUTS // 200))


@pytest.fixture
async def comfy_api(services: Services) -> AsyncIterator[Serving]:
    """The API with ComfyUI, and no instance of it."""
    in_effect: Any = services.in_effect  # a dataclass
    engines = {**services.cluster.engines, "comfyui": EngineSettings(name="comfyui")}
    changed = replace(in_effect, cluster=replace(services.cluster, engines=engines))
    async with serving(replace(services, in_effect=changed), max_upload=Bytes(16 * 2**20)) as api:
        yield api


async def test_a_batch_whose_defaults_make_it_large_is_stored_in_the_memory_of_a_step(comfy_api: Serving) -> None:
    workflow = text_to_image()
    workflow["6"]["inputs"]["text"] = "x" * 500_000
    tasks = [{"name": f"t{number}", "inputs": {"seed": number}} for number in range(STEP_TASKS + 100)]
    batch = {"name": "b", "defaults": {"engine": "comfyui", "inputs": {"workflow": workflow}}, "tasks": tasks}
    assert is_large(batch)

    async with Api(comfy_api.url, None) as api:
        tracemalloc.start()
        answer = await submit_large(api, batch, key="k")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert answer["batch"]["task_count"] == len(tasks)
    assert most < 60 * 2**20, "150 MB of inputs are never in memory at once"
