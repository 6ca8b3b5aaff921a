"""Sets over HTTP: checked as a whole, kept by their owner, shown with what is stale; and the steps of the keeper."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from corral.cli.main import run_command
from corral.errors import CorralError, Problem
from corral.server.services import Services
from corral.studio.sets.keeper import Keeper
from corral.tasks.store.submitting import OwnerLimitError
from corral.tasks.store.tokens import create_token
from corral.tasks.submission_checks import SubmissionError
from corral.tasks.values import Sha256, StoredFile
from corral.units import Bytes
from corral.work import Json
from doubles import queue_life
from doubles.picture_sets import a_sleeping_set
from doubles.serving import Answered, Serving

SETS = "/corral/v1/sets"
RED, GREEN = {"name": "ada", "look": "red"}, {"name": "ada", "look": "green"}


async def make(api: Serving, file: dict[str, Any], **options: bool) -> dict[str, Any]:
    answered = await api.post(SETS, {"file": file, **options})
    assert answered.status == 200, answered.body
    return answered.json


def places_of(answered: Answered) -> set[str]:
    return {problem["where"] for problem in answered.json["error"]["problems"]}


async def test_a_dry_run_says_what_would_be_made_and_stores_nothing(api: Serving) -> None:
    made = await make(api, a_sleeping_set(), dry_run=True)

    assert (made["planned"], made["kept"], made["stale"], made["dry_run"]) == (8, 0, [], True)
    assert (await api.get(f"{SETS}/naps")).status == 404


async def test_a_set_that_is_made_is_shown_with_its_counts(api: Serving) -> None:
    await make(api, a_sleeping_set())

    shown = (await api.get(f"{SETS}/naps")).json

    assert (shown["pictures"], shown["states"], shown["takes"], shown["stale"]) == (8, {"open": 8}, 0, 0)
    assert shown["forecast"]["pictures"] == shown["forecast"]["expected_takes"] == 8
    assert [entry["name"] for entry in (await api.get(SETS)).json["items"]] == ["naps"]
    first, second = [
        (await api.get(f"{SETS}/naps/pictures?limit=4{cursor}")).json for cursor in ("", "&cursor=ada/smile/2")
    ]
    keys = [entry["key"] for entry in first["items"] + second["items"]]
    assert first["next"] == "ada/smile/2"
    assert keys == sorted(set(keys))
    assert len(keys) == 8


async def test_asking_again_makes_nothing_twice(api: Serving) -> None:
    await make(api, a_sleeping_set())

    again = await make(api, a_sleeping_set(seeds=3))

    assert (again["planned"], again["kept"]) == (4, 8)


async def test_every_problem_of_a_set_is_reported_at_its_place(api: Serving) -> None:
    file = a_sleeping_set(thresholds={"width": {"least": 9}})
    shape = await api.post(SETS, {"file": {**file, "shots": {}, "remakes": -1}})
    task = {"engine": "sleep", "inputs": {"seconds": "{shot}"}, "node": "nowhere", "queue": "large"}
    tasks = await api.post(SETS, {"file": a_sleeping_set(task=task)})
    places = await api.post(SETS, {"file": a_sleeping_set(task={**task, "labels": {"a": "{character.hair}"}})})

    assert {shape.status, tasks.status, places.status} == {422}
    assert places_of(shape) == {"shots", "remakes"}
    assert places_of(tasks) == {"task.inputs.seconds", "task.node", "task.queue"}
    assert [problem["code"] for problem in places.json["error"]["problems"]] == ["set.unset_place"]


async def test_an_owner_sees_and_changes_its_own_sets_alone(api: Serving, services: Services) -> None:
    await make(api, a_sleeping_set())
    _, secret = await create_token(services.pool, name="eve", role="submitter")
    of_eve = {"headers": {"Authorization": f"Bearer {secret}"}}

    assert (await api.get(SETS, **of_eve)).json["items"] == []
    assert (await api.get(f"{SETS}/naps?owner=local", **of_eve)).status == 404
    for path in ("cancel", "reject"):
        refused = await api.post(f"{SETS}/naps/{path}?owner=local", {"keys": ["ada/smile/1"]}, **of_eve)
        assert refused.status == 404
    await api.post(SETS, {"file": a_sleeping_set()}, **of_eve)
    assert [entry["owner"] for entry in (await api.get(SETS)).json["items"]] == ["eve", "local"]
    assert (await api.get(f"{SETS}/naps?owner=eve")).json["owner"] == "eve"


async def test_a_viewer_makes_no_sets(api: Serving, services: Services) -> None:
    _, secret = await create_token(services.pool, name="eve", role="viewer")

    answered = await api.post(SETS, {"file": a_sleeping_set()}, headers={"Authorization": f"Bearer {secret}"})

    assert answered.status == 403


async def test_the_command_prints_what_the_route_answers(
    api: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set.yaml").write_text(json.dumps(a_sleeping_set()))
    arguments = ["sets", "make", str(tmp_path / "set.yaml"), "--dry-run", "--url", api.url, "--json"]

    await asyncio.to_thread(run_command, arguments)

    assert json.loads(capsys.readouterr().out) == await make(api, a_sleeping_set(), dry_run=True)


# --- the keeper -----------------------------------------------------------------------------------------------------


class Queue:
    """Stands for the server's way to the queue: it stores real tasks with their idempotency keys, and can refuse."""

    def __init__(self, api: Serving) -> None:
        self.api = api
        self.bodies: list[Mapping[str, Json]] = []
        self.refusal: CorralError | None = None

    async def __call__(self, owner: str, token: str | None, body: Mapping[str, Json], key: str) -> int:
        assert (owner, token) == ("local", None)
        if self.refusal is not None:
            raise self.refusal
        self.bodies.append(body)
        answered = await self.api.post("/corral/v1/tasks", dict(body), headers={"Idempotency-Key": key})
        return answered.json["id"]


@pytest.fixture
def queue(api: Serving) -> Queue:
    return Queue(api)


@pytest.fixture
async def keeper(services: Services, queue: Queue) -> Keeper:
    return Keeper(services.pool, queue, epoch=lambda: 0)


async def takes_of(api: Serving) -> list[dict[str, Any]]:
    pictures = (await api.get(f"{SETS}/naps/pictures")).json["items"]
    return [take for picture in pictures for take in picture["takes"]]


async def test_tasks_have_the_names_the_labels_and_the_values_of_their_pictures(
    api: Serving, keeper: Keeper, queue: Queue
) -> None:
    await make(api, a_sleeping_set(characters=[RED], seeds=1))

    await keeper.go_on(0)

    assert [body["name"] for body in queue.bodies] == ["naps-ada-portrait-1-1", "naps-ada-smile-1-1"]
    assert {(body["labels"]["set"], body["labels"]["character"]) for body in queue.bodies} == {("naps", "ada")}
    assert {body["labels"]["look"] for body in queue.bodies} == {"red"}
    assert [take["state"] for take in await takes_of(api)] == ["making", "making"]


async def test_a_task_that_was_submitted_and_not_noted_is_found_again(
    api: Serving, keeper: Keeper, queue: Queue, services: Services
) -> None:
    await make(api, a_sleeping_set())
    await keeper.go_on(0)
    before = [take["task"] for take in await takes_of(api)]
    # As a server leaves it that is killed between the two.
    await services.pool.execute("update set_takes set state = 'planned', task = null")

    await keeper.go_on(0)

    assert [take["task"] for take in await takes_of(api)] == before
    assert await services.pool.fetchval("select count(*) from tasks") == len(queue.bodies) == 8


async def test_what_is_refused_for_now_is_submitted_later_and_what_is_refused_for_good_has_failed(
    api: Serving, keeper: Keeper, queue: Queue
) -> None:
    await make(api, a_sleeping_set(characters=[RED], seeds=1))

    queue.refusal = OwnerLimitError("too many tasks")
    await keeper.go_on(0)
    waiting = [take["state"] for take in await takes_of(api)]
    queue.refusal = SubmissionError([Problem(code="submission.unknown_upload", what="there is no upload abc")])
    await keeper.go_on(0)

    assert waiting == ["planned", "planned"]
    assert [(take["state"], take["reasons"]) for take in await takes_of(api)] == [
        ("failed", ["there is no upload abc"]),
    ] * 2
    queue.refusal = None
    again = await make(api, a_sleeping_set(characters=[RED], seeds=1))
    assert again["planned"] == 2


async def test_a_task_without_a_picture_and_one_that_failed_are_failed_pictures(
    api: Serving, keeper: Keeper, services: Services
) -> None:
    await make(api, a_sleeping_set(characters=[RED], seeds=1))
    await keeper.go_on(0)
    first, second = [take["task"] for take in await takes_of(api)]
    await queue_life.succeed(services.pool, first)
    await queue_life.fail(services.pool, second)

    await keeper.go_on(0)

    takes = await takes_of(api)
    assert [take["state"] for take in takes] == ["failed", "failed"]
    assert takes[0]["reasons"] == ["its task made no picture"]
    assert (await api.get(f"{SETS}/naps")).json["states"] == {"failed": 2}


async def test_cancelling_ends_what_is_under_way_with_its_tasks_and_making_again_goes_on(
    api: Serving, keeper: Keeper
) -> None:
    await make(api, a_sleeping_set())
    await keeper.go_on(0)
    tasks = [take["task"] for take in await takes_of(api)]

    cancelled = (await api.post(f"{SETS}/naps/cancel")).json

    assert cancelled["states"] == {"cancelled": 8}
    states = {(await api.get(f"/corral/v1/tasks/{task}")).json["state"] for task in tasks}
    assert states == {"cancelled"}
    assert (await make(api, a_sleeping_set()))["planned"] == 8


async def accept_all(services: Services) -> None:
    """Have every picture accepted, as a night leaves it."""
    await services.pool.execute("update set_takes set state = 'accepted', task = 1")
    await services.pool.execute("update set_pictures set state = 'accepted'")


async def test_changed_inputs_are_named_and_made_anew_when_that_is_asked(api: Serving, services: Services) -> None:
    await make(api, a_sleeping_set(characters=[RED], seeds=1))
    await accept_all(services)

    changed = await make(api, a_sleeping_set(characters=[GREEN], seeds=1))
    stale = (await api.get(f"{SETS}/naps/stale")).json["items"]
    shown = (await api.get(f"{SETS}/naps")).json
    anew = await make(api, a_sleeping_set(characters=[GREEN], seeds=1), remake_stale=True)

    assert (changed["planned"], changed["kept"]) == (0, 2)
    assert (
        changed["stale"]
        == stale
        == [{"key": f"ada/{shot}/1", "changed": ["character.look"]} for shot in ("portrait", "smile")]
    )
    assert shown["stale"] == 2
    assert (anew["planned"], anew["stale"]) == (2, [])
    assert [take["state"] for take in await takes_of(api)] == ["replaced", "planned"] * 2


async def test_a_picture_that_a_person_rejects_is_made_again_with_another_seed(
    api: Serving, services: Services
) -> None:
    await make(api, a_sleeping_set(characters=[RED], seeds=1, remakes=0))
    await accept_all(services)

    answered = await api.post(f"{SETS}/naps/reject", {"keys": ["ada/smile/1", "ada/none/1"]})

    assert answered.json == {"keys": ["ada/smile/1"]}
    first, rejected, again = await takes_of(api)
    assert (first["state"], rejected["state"], again["state"]) == ("accepted", "rejected", "planned")
    assert rejected["reasons"] == ["rejected by a person"]
    assert again["seed"] != rejected["seed"]


async def test_an_accepted_picture_that_is_rejected_in_the_gallery_is_made_again_once(
    api: Serving, keeper: Keeper, services: Services
) -> None:
    await make(api, a_sleeping_set(characters=[RED], seeds=1, remakes=0))
    await keeper.go_on(0)
    first, second = [take["task"] for take in await takes_of(api)]
    for task in (first, second):
        await queue_life.succeed(services.pool, task, a_stored_picture(task))
    for _ in ("checked", "judged"):
        await keeper.go_on(0)
    decisions = "/corral/v1/pictures/decisions"

    await api.post(decisions, {"of": [f"{first}/out.png"], "decision": "keep"})
    kept = [take["state"] for take in await takes_of(api)]
    for _ in range(2):
        await api.post(decisions, {"of": [f"{second}/out.png"], "decision": "reject"})
    await keeper.go_on(0)

    assert kept == ["accepted", "accepted"]
    stays, rejected, again = await takes_of(api)
    assert [take["state"] for take in (stays, rejected, again)] == ["accepted", "rejected", "making"]
    assert rejected["reasons"] == ["rejected by a person"]
    assert again["seed"] != rejected["seed"]
    assert (await api.get(f"{SETS}/naps")).json["states"] == {"open": 1, "accepted": 1}


def a_stored_picture(task: int) -> StoredFile:
    """An output that the database lists as a picture; no file is behind it."""
    return StoredFile(name="out.png", sha256=Sha256(f"{task:064x}"), size=Bytes(1), media_type="image/png")


async def test_pictures_that_the_file_no_longer_asks_for_are_not_counted(api: Serving) -> None:
    await make(api, a_sleeping_set())
    await make(api, a_sleeping_set(characters=[RED]))

    assert (await api.get(f"{SETS}/naps")).json["pictures"] == 4


async def test_pictures_are_stale_where_a_character_of_the_server_was_changed(api: Serving, services: Services) -> None:
    async def save(look: str) -> None:
        body = {"characters": [{"name": "zoe", "look": look}]}
        assert (await api.post("/corral/v1/characters", body)).status == 200

    await save("red")
    made = await make(api, a_sleeping_set(characters="all", seeds=1))
    await accept_all(services)
    await save("green")

    stale = (await api.get(f"{SETS}/naps/stale")).json["items"]

    assert made["planned"] == 2
    assert stale == [{"key": f"zoe/{shot}/1", "changed": ["character.look"]} for shot in ("portrait", "smile")]
