"""Tasks over HTTP: what is submitted is shown, and every refusal says all that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from builders import a_submission, a_task
from corral.cluster.destinations import Destination
from corral.errors import Problem
from corral.server.api.answers import explain
from corral.server.services import Services
from corral.tasks.lifecycle import Leased
from corral.tasks.store import deliveries, reading
from corral.tasks.store.submitting import submit
from corral.tasks.store.transitions import Lease, TaskChange, apply
from corral.work import SlotId
from doubles import queue_life
from doubles.serving import Serving
from doubles.slots_shown import a_place_view

SLEEP: dict[str, Any] = {"engine": "sleep", "inputs": {"seconds": 0}}


async def submitted(api: Serving, **changes: Any) -> int:
    answer = await api.post("/corral/v1/tasks", {**SLEEP, **changes})
    assert answer.status == 201, answer.body
    return answer.json["id"]


def wheres(answer: Any) -> list[str]:
    return [problem["where"] for problem in answer.json["error"]["problems"]]


async def test_submitted_task_is_shown_as_the_queue_keeps_it(api: Serving) -> None:
    asked = {**SLEEP, "name": "nap", "priority": "high", "class": "interactive", "memory": "2Gi", "timeout": "10m"}
    made = await api.post("/corral/v1/tasks", asked)
    assert made.status == 201, made.body
    shown = (await api.get(f"/corral/v1/tasks/{made.json['id']}")).json
    assert shown == made.json
    assert shown["name"] == "nap"
    assert shown["priority"] == "high"
    assert shown["class"] == "interactive"
    assert shown["memory"] == 2 * 1024**3
    assert shown["timeout_s"] == 600.0
    assert shown["state"] == "queued"
    assert shown["owner"] == "local"


async def test_same_idempotency_key_makes_one_task(api: Serving) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await api.post("/corral/v1/tasks", SLEEP, headers=headers)
    again = await api.post("/corral/v1/tasks", SLEEP, headers=headers)
    other = await api.post("/corral/v1/tasks", {**SLEEP, "name": "other"}, headers=headers)
    assert (first.status, again.status, other.status) == (201, 200, 409)
    assert again.json == first.json
    assert other.json["error"]["code"] == "submission.idempotency_conflict"


async def test_every_problem_of_a_task_is_told_at_once_with_its_path(api: Serving) -> None:
    asked = {"engine": "sleep", "inputs": {"secons": 1}, "queue": "defalt", "needs": ["nobody"], "files": {"a": {}}}
    answer = await api.post("/corral/v1/tasks", {**asked, "files": {}})
    assert answer.status == 422
    assert set(wheres(answer)) == {"queue", "needs", "inputs.secons", "inputs.seconds"}
    assert any("`default`" in problem["hint"] for problem in answer.json["error"]["problems"])


async def test_every_wrong_field_is_told_at_once_with_its_path(api: Serving) -> None:
    asked = {"engin": "sleep", "gpus": 0, "priority": "urgent", "timeout": "soon", "files": {"a": {"upload": "x"}}}
    answer = await api.post("/corral/v1/tasks", asked)
    assert answer.status == 422
    assert {"engine", "engin", "gpus", "priority", "timeout", "files.a.upload"} <= set(wheres(answer))
    hints = {problem["where"]: problem["hint"] for problem in answer.json["error"]["problems"]}
    assert hints["engin"] == "did you mean `engine`?"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("not_before", "2026-01-01"),
        ("not_before", "2026-01-01T00:00:00"),
        ("not_before", 1767225600),
        ("not_before", "9999-12-31T23:59:59-12:00"),
        ("memory", "99999999999999Ti"),
        ("memory", 2**63),
        ("memory", True),
        ("memory", "9" * 400),
        ("timeout", 0),
        ("timeout", "9" * 400 + "s"),
        ("max_attempts", 101),
        ("needs", [2**63]),
        ("needs", [0]),
        ("name", ""),
        ("name", "a\nb"),
    ],
)
async def test_value_that_the_database_cannot_hold_is_refused(api: Serving, field: str, value: object) -> None:
    answer = await api.post("/corral/v1/tasks", {**SLEEP, field: value})
    assert answer.status == 422, answer.body
    assert all(where.startswith(field) for where in wheres(answer))


async def test_engine_that_is_off_takes_no_tasks(api: Serving) -> None:
    answer = await api.post("/corral/v1/tasks", {"engine": "whisper", "inputs": {}})
    assert answer.status == 422
    assert {"model", "files"} <= set(wheres(answer)), "what an engine needs besides inputs is checked too"


async def test_start_time_holds_a_task_and_explains_it(api: Serving) -> None:
    start = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    id = await submitted(api, not_before=start)
    why = (await api.get(f"/corral/v1/tasks/{id}/explain")).json
    assert (why["state"], why["rule"]) == ("waiting", "start_time")
    assert datetime.fromisoformat(why["may_start_at"]) == datetime.fromisoformat(start)


async def test_waiting_task_names_what_it_waits_for(api: Serving) -> None:
    first = await submitted(api)
    second = await submitted(api, needs=[first])
    why = (await api.get(f"/corral/v1/tasks/{second}/explain")).json
    assert why["rule"] == "needs"
    assert str(first) in why["summary"]


@pytest.mark.parametrize(
    ("attempts", "losses", "tries"),
    [(0, 1, "1 interrupted try"), (2, 0, "2 failed tries"), (1, 2, "1 failed try and 2 interrupted tries")],
)
async def test_a_wait_between_tries_is_explained_by_how_they_ended(
    api: Serving, services: Services, attempts: int, losses: int, tries: str
) -> None:
    id = await submitted(api)
    stored = await reading.get_task(services.pool, id)
    later = datetime.now(UTC) + timedelta(minutes=1)
    task = stored.model_copy(update={"attempts": attempts, "losses": losses, "ready_at": later})

    explained = explain(task, (), None, None, now=datetime.now(UTC))

    assert (explained.rule, explained.summary) == ("backoff", f"it waits until {later.isoformat()} after {tries}")


async def test_every_other_state_is_explained(api: Serving, services: Services) -> None:
    id = await submitted(api)
    rules = [(await api.get(f"/corral/v1/tasks/{id}/explain")).json["rule"]]
    await queue_life.start(services.pool, id)
    rules.append((await api.get(f"/corral/v1/tasks/{id}/explain")).json["rule"])
    await api.post(f"/corral/v1/tasks/{id}/cancel")
    rules.append((await api.get(f"/corral/v1/tasks/{id}/explain")).json["rule"])
    done, failed = await submitted(api), await submitted(api)
    await queue_life.succeed(services.pool, done)
    await queue_life.fail(services.pool, failed)
    rules += [(await api.get(f"/corral/v1/tasks/{id}/explain")).json["rule"] for id in (done, failed)]
    assert rules == ["undecided", "running", "stopping", "succeeded", "failed"]


async def test_pages_show_every_task_once_in_either_order(api: Serving) -> None:
    ids = [await submitted(api, name=f"n{number}") for number in range(5)]
    for order, expected in (("newest", ids[::-1]), ("oldest", ids)):
        seen: list[int] = []
        cursor = ""
        while True:
            page = (await api.get(f"/corral/v1/tasks?limit=2&order={order}{cursor}")).json
            seen += [task["id"] for task in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert seen == expected


async def test_filters_choose_what_they_say(api: Serving, services: Services) -> None:
    first, second = await submitted(api), await submitted(api, queue="small")
    await queue_life.start(services.pool, first, slot="node/gpu0")
    for query, expected in (
        ("state=running", [first]),
        ("state=queued&state=running", [second, first]),
        ("queue=small", [second]),
        ("slot=node/gpu0", [first]),
        ("owner=nobody", []),
        ("engine=sleep", [second, first]),
        ("batch=1", []),
    ):
        page = (await api.get(f"/corral/v1/tasks?{query}")).json
        assert [task["id"] for task in page["items"]] == expected, query


async def test_queued_task_is_cancelled_at_once_and_again_changes_nothing(api: Serving) -> None:
    id = await submitted(api)
    first = await api.post(f"/corral/v1/tasks/{id}/cancel")
    again = await api.post(f"/corral/v1/tasks/{id}/cancel")
    assert (first.status, first.json["state"]) == (200, "cancelled")
    assert again.json == first.json
    kinds = [line["kind"] for line in (await api.get(f"/corral/v1/tasks/{id}/story")).json["items"]]
    assert kinds == ["submitted", "cancel_requested"]


async def test_running_task_is_asked_to_stop(api: Serving, services: Services) -> None:
    id = await submitted(api)
    await queue_life.start(services.pool, id)
    answer = await api.post(f"/corral/v1/tasks/{id}/cancel")
    assert (answer.status, answer.json["state"], answer.json["cancel_requested"]) == (200, "running", True)


async def test_task_that_succeeded_cannot_be_cancelled(api: Serving, services: Services) -> None:
    id = await submitted(api)
    await queue_life.succeed(services.pool, id)
    answer = await api.post(f"/corral/v1/tasks/{id}/cancel")
    assert (answer.status, answer.json["error"]["kind"]) == (409, "conflict")


async def test_retry_makes_a_linked_task_of_one_that_ended(api: Serving, services: Services) -> None:
    id = await submitted(api, name="nap", priority="low")
    assert (await api.post(f"/corral/v1/tasks/{id}/retry")).status == 409
    await queue_life.fail(services.pool, id)
    key = {"Idempotency-Key": "again"}
    retried = await api.post(f"/corral/v1/tasks/{id}/retry", headers=key)
    assert retried.status == 201
    assert (retried.json["retry_of"], retried.json["state"], retried.json["priority"]) == (id, "queued", "low")
    assert (await api.post(f"/corral/v1/tasks/{id}/retry", headers=key)).json == retried.json


async def test_retry_takes_the_newest_retry_of_a_need_that_failed(api: Serving, services: Services) -> None:
    first = await submitted(api, name="first")
    second = await submitted(api, name="second", needs=[first])
    await queue_life.fail(services.pool, first)
    refused = await api.post(f"/corral/v1/tasks/{second}/retry")
    assert (refused.status, refused.json["error"]["code"]) == (409, "task.needs_unmet")
    again = (await api.post(f"/corral/v1/tasks/{first}/retry")).json["id"]
    retried = await api.post(f"/corral/v1/tasks/{second}/retry")
    assert (retried.status, retried.json["needs"], retried.json["state"]) == (201, [again], "waiting")


@pytest.mark.parametrize("path", ["", "/story", "/explain", "/wait", "/outputs/text.txt"])
async def test_task_that_does_not_exist_is_missing_everywhere(api: Serving, path: str) -> None:
    answer = await api.get(f"/corral/v1/tasks/{2**62}{path}")
    assert (answer.status, answer.json["error"]["code"]) == (404, "task.missing")


async def test_owner_limit_is_told_as_a_limit(api: Serving) -> None:
    await submitted(api, queue="small")
    await submitted(api, queue="small")
    answer = await api.post("/corral/v1/tasks", {**SLEEP, "queue": "small"})
    assert (answer.status, answer.json["error"]["code"]) == (429, "queue.owner_limit")
    assert answer.headers["retry-after"]


async def test_tasks_are_found_by_all_of_the_labels_asked_for(api: Serving) -> None:
    both = await submitted(api, labels={"project": "aurora", "kind": "draft"})
    single = await submitted(api, labels={"project": "aurora"})
    await submitted(api)

    async def find_tasks(*labels: str) -> list[int]:
        answer = await api.get("/corral/v1/tasks", params=[("label", label) for label in labels])
        return [task["id"] for task in answer.json["items"]]

    assert await find_tasks("project=aurora") == [single, both]
    assert await find_tasks("kind=draft", "project=aurora") == [both]
    assert await find_tasks("project=borealis") == []
    assert (await api.get("/corral/v1/tasks", params={"label": "project"})).status == 422


async def test_everything_wrong_with_labels_is_said_at_once(api: Serving) -> None:
    labels = {"not a key": "x", "long": "x" * 201, "nul": 7, "fine": "yes"}
    answer = await api.post("/corral/v1/tasks", {**SLEEP, "labels": labels})
    assert answer.status == 422
    assert wheres(answer) == ["labels.not a key", "labels.long", "labels.nul"]
    assert (await api.post("/corral/v1/tasks", {**SLEEP, "labels": {f"k{n}": "" for n in range(33)}})).status == 422


async def test_retry_keeps_the_labels(api: Serving, services: Services) -> None:
    id = await submitted(api, labels={"project": "aurora"})
    await api.post(f"/corral/v1/tasks/{id}/cancel")
    assert (await api.post(f"/corral/v1/tasks/{id}/retry")).json["labels"] == {"project": "aurora"}


async def test_a_page_of_large_tasks_is_short_and_the_next_goes_on(api: Serving) -> None:
    inputs = {"argv": ["true"], "stdin": "x" * 990_000}
    sent: Any = {"name": "large", "defaults": {"engine": "command", "inputs": inputs}, "tasks": [{}] * 20}
    made = await api.post("/corral/v1/batches", sent)
    assert made.status == 201, made.body
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.get("/corral/v1/tasks", params={"limit": "500", **cursor})).json
        assert 0 < len(page["items"]) < 20
        seen += [task["id"] for task in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == 20


async def test_a_node_that_no_slot_is_on_is_refused_with_the_names_of_the_nodes(
    api: Serving, services: Services
) -> None:
    services.board.show_slots(lambda: (a_place_view("sleep"), a_place_view("sleep", device="attic/gpu0")))
    answer = await api.post("/corral/v1/tasks", {**SLEEP, "node": "atic"})
    assert (answer.status, wheres(answer)) == (422, ["node"])
    (problem,) = answer.json["error"]["problems"]
    assert problem["what"] == "no slot is on node 'atic'; nodes with slots: attic, node"
    assert problem["hint"] == "did you mean `attic`?"
    id = await submitted(api, node="attic", prefer_node="attic")
    shown = (await api.get(f"/corral/v1/tasks/{id}")).json
    assert (shown["node"], shown["prefer_node"]) == ("attic", "attic")


async def test_what_runs_says_why_its_slot_was_chosen(api: Serving, services: Services) -> None:
    id = await submitted(api)
    lease = Lease(holder=uuid4(), ttl=timedelta(seconds=60))
    note = {"because": "only slot free; preferred node attic is busy for too long"}
    leased = TaskChange(task=id, event=Leased(uuid4(), (SlotId("node/cpu0/sleep"),)), note=note)
    await apply(services.pool, [leased], lease=lease)
    explanation = (await api.get(f"/corral/v1/tasks/{id}/explain")).json
    assert explanation["summary"] == (
        "it starts on node/cpu0/sleep (only slot free; preferred node attic is busy for too long)"
    )


async def test_a_task_whose_outputs_wait_for_their_folder_says_why(api: Serving, services: Services) -> None:
    destination = Destination(root="/mnt/nas", pattern="{batch}/{task}")
    accepted = await submit(services.pool, a_submission(a_task("fox", destination=destination)), queued_limits={})
    await queue_life.succeed(services.pool, accepted.tasks[0])
    path = f"/corral/v1/tasks/{accepted.tasks[0]}/explain"
    explanation = (await api.get(path)).json
    assert explanation["rule"] == "outputs"
    assert explanation["summary"] == f"it succeeded, and its outputs are not in /mnt/nas/{accepted.batch}/fox yet"
    problem = Problem(code="outputs.in_the_way", what="there is another 'a.png' already", hint="move it away")
    await deliveries.note_problem(services.pool, accepted.tasks[0], problem)
    summary = (await api.get(path)).json["summary"]
    assert summary.endswith("fox yet: there is another 'a.png' already (move it away)")
    shown = (await api.get(f"/corral/v1/batches/{accepted.batch}")).json["deliveries"]
    assert (shown["written"], shown["waiting"], shown["problem"]["code"]) == (0, 1, "outputs.in_the_way")
    await deliveries.note_written(services.pool, accepted.tasks[0])
    assert (await api.get(path)).json["rule"] == "succeeded"
