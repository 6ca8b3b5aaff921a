"""A program takes GPUs over HTTP, keeps them by renewing, and gives them back; others can only look."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from corral.processes.kernel import identify_machine
from corral.server.services import Services
from corral.tasks.lifecycle import Leased, Started
from corral.tasks.store import holds
from corral.tasks.store.transitions import Lease, TaskChange, apply
from corral.work import HoldTerms, SlotId
from doubles.serving import Answered, Serving, serving
from doubles.slots_shown import a_place_view

HOLDS = "/corral/v1/holds"
UUID = "GPU-00000000-0000-0000-0000-000000000001"
GPU = a_place_view("hold", visible=UUID)


@pytest.fixture
def services(services: Services) -> Services:
    services.board.show_slots(lambda: (GPU,))
    return services


async def grant(services: Services, id: int) -> None:
    """Hand the card over, as the dispatcher and the engine do."""
    attempt, slots = uuid4(), (SlotId("node/gpu0/hold"),)
    changes = [TaskChange(task=id, event=Leased(attempt, slots)), TaskChange(task=id, event=Started(attempt))]
    await apply(services.pool, changes, lease=Lease(holder=uuid4(), ttl=timedelta(seconds=60)))
    granted = holds.Grant(task=id, terms=HoldTerms(ttl_s=60), slots=slots, devices=(UUID,))
    await holds.grant(services.pool, granted)


def list_codes(refused: Answered) -> list[str]:
    return [problem["code"] for problem in refused.json["error"]["problems"]]


async def test_hold_that_was_asked_for_waits_as_a_task_of_its_owner(api: Serving) -> None:
    asked = {"memory": "8Gi", "priority": "high", "class": "interactive", "for": "2h", "program": "python train.py"}

    taken = await api.post(HOLDS, asked)

    hold = taken.json
    assert (taken.status, hold["state"], hold["owner"], hold["program"]) == (201, "waiting", "local", "python train.py")
    assert (hold["memory"], hold["devices"], hold["environment"]) == (8 * 2**30, [], {})
    assert hold["waits"]["rule"] == "undecided"
    task = (await api.get(f"/corral/v1/tasks/{hold['id']}")).json
    assert (task["engine"], task["class"], task["priority"], task["node"]) == ("hold", "interactive", "high", "node")
    assert task["inputs"] == {"ttl_s": 60.0, "for_s": 7200.0, "program": "python train.py"}
    assert (await api.get(HOLDS)).json["items"] == [(await api.get(f"{HOLDS}/{hold['id']}")).json]


async def test_granted_hold_names_its_devices_and_how_its_program_sees_them(api: Serving, services: Services) -> None:
    id = (await api.post(HOLDS, {})).json["id"]
    await grant(services, id)

    hold = (await api.get(f"{HOLDS}/{id}")).json

    assert hold["state"] == "granted"
    assert hold["devices"] == [
        {"device": "node/gpu0", "slot": "node/gpu0/hold", "model": "RTX 4090", "memory": 24 * 2**30, "visible": UUID}
    ]
    assert hold["environment"] == {
        "CUDA_VISIBLE_DEVICES": UUID,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CORRAL_HOLD": str(id),
    }


async def test_renewed_hold_counts_for_its_whole_time_again_and_one_that_ended_is_refused(
    api: Serving, services: Services
) -> None:
    id = (await api.post(HOLDS, {"ttl": "5m"})).json["id"]
    await grant(services, id)
    await services.pool.execute("update holds set expires_at = now()")

    renewed = await api.post(f"{HOLDS}/{id}/renew")
    released = await api.call("DELETE", f"{HOLDS}/{id}")
    refused = await api.post(f"{HOLDS}/{id}/renew")

    assert renewed.json["expires_at"] > renewed.json["granted_at"]
    assert (released.json["state"], released.json["because"]) == ("ended", "released")
    assert (refused.status, refused.json["error"]["code"]) == (409, "hold.over")


async def test_holder_that_is_asked_to_stop_hears_of_it_with_its_next_renewal(api: Serving, services: Services) -> None:
    id = (await api.post(HOLDS, {})).json["id"]
    await grant(services, id)

    await api.call("DELETE", f"{HOLDS}/{id}?grace=20")

    renewed = (await api.post(f"{HOLDS}/{id}/renew")).json
    assert (renewed["state"], renewed["because"]) == ("ending", "released")
    assert renewed["ends_at"] is not None


async def test_hold_that_waits_is_cancelled_when_it_is_given_back(api: Serving) -> None:
    id = (await api.post(HOLDS, {})).json["id"]

    ended = (await api.call("DELETE", f"{HOLDS}/{id}")).json

    assert (ended["state"], ended["because"], ended["waits"]) == ("ended", "cancelled", None)
    assert (await api.call("DELETE", f"{HOLDS}/{id}")).status == 200


@pytest.mark.parametrize(
    ("asked", "codes"),
    [
        ({"node": "other"}, ["hold.other_machine"]),
        ({"machine": "another boot"}, ["hold.other_machine"]),
        ({"cpu": True}, ["hold.has_gpu"]),
        ({"gpus": 3, "memory": "48Gi"}, ["hold.too_many", "hold.too_large"]),
    ],
)
async def test_what_this_machine_cannot_give_is_refused_with_every_reason(
    api: Serving, asked: dict[str, Any], codes: list[str]
) -> None:
    refused = await api.post(HOLDS, asked)

    assert (refused.status, list_codes(refused)) == (422, codes)
    assert all(problem["hint"] for problem in refused.json["error"]["problems"])
    assert (await api.get("/corral/v1/tasks")).json["items"] == []


async def test_time_that_cannot_be_read_is_refused_with_how_to_write_it(api: Serving) -> None:
    refused = await api.post(HOLDS, {"for": "2x"})

    (problem,) = refused.json["error"]["problems"]
    assert (problem["where"], problem["what"]) == ("for", "not a duration: '2x'")
    assert "such as 1h30m" in problem["hint"]


async def test_program_of_this_machine_is_taken(api: Serving) -> None:
    assert (await api.post(HOLDS, {"machine": identify_machine(), "node": "node"})).status == 201


async def test_processor_is_lent_to_those_who_ask_for_it(api: Serving, services: Services) -> None:
    services.board.show_slots(lambda: (a_place_view("hold", device="node/cpu0"),))

    refused = await api.post(HOLDS, {})
    taken = await api.post(HOLDS, {"cpu": True})

    assert list_codes(refused) == ["hold.no_gpu"]
    assert taken.status == 201


async def test_task_of_another_engine_is_not_a_hold(api: Serving) -> None:
    id = (await api.post("/corral/v1/tasks", {"engine": "sleep", "inputs": {"seconds": 0}})).json["id"]

    missing = await api.get(f"{HOLDS}/{id}")

    assert (missing.status, missing.json["error"]["code"]) == (404, "hold.missing")


async def test_hold_is_its_owners_and_an_administrators(services: Services) -> None:
    async with serving(replace(services, loopback=False)) as api:
        local = {"Authorization": f"Bearer {services.local_token}"}
        keys = {
            name: (await api.post("/corral/v1/tokens", {"name": name, "role": "submitter"}, headers=local)).json[
                "token"
            ]
            for name in ("ada", "bo")
        }
        ada, bo = ({"Authorization": f"Bearer {keys[name]}"} for name in ("ada", "bo"))
        id = (await api.post(HOLDS, {}, headers=ada)).json["id"]

        strangers = [
            await api.post(f"{HOLDS}/{id}/renew", headers=bo),
            await api.call("DELETE", f"{HOLDS}/{id}", headers=bo),
        ]
        own = await api.post(f"{HOLDS}/{id}/renew", headers=ada)
        administrators = await api.call("DELETE", f"{HOLDS}/{id}", headers=local)
        acts = (await api.get("/corral/v1/audit", headers=local)).json["items"]

    assert [answer.status for answer in strangers] == [403, 403]
    assert (own.status, administrators.status) == (200, 200)
    assert [(act["owner"], act["action"], act["subject"]) for act in acts[:2]] == [
        ("local", "hold_released", str(id)),
        ("ada", "hold_taken", str(id)),
    ]


async def test_same_key_takes_one_hold(api: Serving) -> None:
    key = {"Idempotency-Key": "one"}

    first = await api.post(HOLDS, {}, headers=key)
    second = await api.post(HOLDS, {}, headers=key)

    assert (first.status, second.status, first.json["id"]) == (201, 200, second.json["id"])


async def test_hold_that_was_cut_off_while_it_was_taken_counts_once_it_is_asked_for_again(
    api: Serving, services: Services
) -> None:
    key = {"Idempotency-Key": "two"}
    taken = await api.post(HOLDS, {"ttl": 60}, headers=key)
    await services.pool.execute("delete from holds")  # as if the server was killed between the task and its row

    again = await api.post(HOLDS, {"ttl": 60}, headers=key)

    assert (again.status, again.json["id"]) == (200, taken.json["id"])
    assert (await api.post(f"{HOLDS}/{taken.json['id']}/renew")).status == 200


async def test_a_time_longer_than_a_hold_can_last_is_refused_where_it_was_written(api: Serving) -> None:
    (problem,) = (await api.post(HOLDS, {"for": "400d"})).json["error"]["problems"]
    assert problem["where"] == "for"


async def test_a_hold_that_is_missing_is_refused_with_the_command_that_lists_holds(api: Serving) -> None:
    refused = (await api.post(f"{HOLDS}/999/renew", {})).json["error"]
    assert (refused["code"], refused["hint"]) == ("hold.missing", "`corral holds list` shows those that there are")
