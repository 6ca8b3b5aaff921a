"""Health, metrics, gates, engines, models, collecting, and the one shape of errors."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from corral.cluster import load
from corral.cluster.keeping import Retention
from corral.scheduling.values import Gate
from corral.server.services import Services
from corral.server.slots_here import localize
from corral.slots.guests import GuestView, GuestWait
from corral.slots.registry import Registry
from corral.slots.values import Hold, HoldKind
from corral.tasks.guest_counts import GuestCounts
from corral.tasks.store.pool import open_pool
from corral.tasks.store.story import read
from corral.work import SlotId
from doubles import queue_life
from doubles.guest_desk import OpenDesk
from doubles.serving import Serving, serving
from doubles.slots_shown import a_place_view

SLEEP: dict[str, Any] = {"engine": "sleep", "inputs": {"seconds": 0}}
GROUP = a_place_view("sleep", "llama", problems={"llama": "not installed"})


async def samples(api: Serving) -> dict[tuple[str, tuple[str, ...]], float]:
    text = (await api.get("/metrics")).body.decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_health_tells_who_dispatches(api: Serving, services: Services) -> None:
    assert (await api.get("/health/live")).json == {"status": "live"}
    assert (await api.get("/health/ready")).json["dispatcher"] == "standby"
    closed = await api.get("/health/doors")
    assert (closed.status, closed.json["error"]["code"]) == (503, "server.doors_closed")
    services.board.set_leading(1)
    assert (await api.get("/health/ready")).json["dispatcher"] == "leading"
    assert (await api.get("/health/doors")).json == {"status": "ready"}


async def test_guests_are_listed_with_the_slots_and_counted_once(services: Services) -> None:
    desk, counts, at = OpenDesk({}), GuestCounts(), datetime(2026, 11, 30, 3, 0, tzinfo=UTC)
    desk.views = (
        GuestView(owner="ada", label="chat m", asked_at=at, slot=SlotId("node/gpu0/llama"), started_at=at),
        GuestView(
            owner="bob", label="chat n", asked_at=at, wait=GuestWait(ahead=1, expected_s=9.0, because="slots are busy")
        ),
    )
    counts.note_wait("llama", 0.25)
    counts.note_refusal("guest.late")
    counts.note_preempted(2)
    async with serving(replace(services, guests=desk, guest_counts=counts)) as api:
        has, waits = (await api.get("/corral/v1/slots")).json["guests"]
        seen = [await samples(api) for _ in range(2)]
    assert (has["label"], has["slot"], has["because"]) == ("chat m", "node/gpu0/llama", "")
    assert (waits["slot"], waits["ahead"], waits["expected_s"]) == (None, 1, 9.0)
    for metrics in seen:
        assert metrics["corral_guests", ("waiting",)] == metrics["corral_guests", ("running",)] == 1
        assert metrics["corral_guest_wait_seconds_sum", ("llama",)] == 0.25
        assert metrics["corral_guests_refused_total", ("guest.late",)] == 1
        assert metrics["corral_tasks_preempted_total", ()] == 2


async def test_alarm_is_in_health_doctor_and_metrics_until_it_ends(api: Serving, services: Services) -> None:
    services.alarms.ring("retention", "nothing was collected", hint="look at the database")
    (alarm,) = (await api.get("/health/ready")).json["alarms"]
    assert (alarm["name"], alarm["what"]) == ("retention", "nothing was collected")
    findings = (await api.get("/corral/v1/doctor")).json["items"]
    assert {
        "name": "retention",
        "state": "warning",
        "what": "nothing was collected",
        "fix": "look at the database",
    } in findings
    assert (await samples(api))["corral_alarm", ("retention",)] == 1
    status = (await api.get("/corral/v1/status")).json
    assert "retention" in [alarm["code"] for alarm in status["alarms"]]
    services.alarms.clear("retention")
    assert (await api.get("/health/ready")).json["alarms"] == []
    assert ("corral_alarm", ("retention",)) not in await samples(api)


async def test_lost_database_is_unavailable_and_the_process_lives(services: Services, database_url: str) -> None:
    pool = await open_pool(database_url)
    async with serving(replace(services, pool=pool)) as api:
        pool.terminate()
        answer = await api.get("/corral/v1/tasks")
        assert (answer.status, answer.json["error"]["code"]) == (503, "database.unavailable")
        assert answer.headers["retry-after"]
        assert (await api.get("/health/ready")).status == 503
        assert (await api.get("/health/live")).status == 200
        assert (await samples(api))["corral_database_up", ()] == 0


async def test_metrics_count_what_is_open_and_what_ended(api: Serving, services: Services) -> None:
    services.board.set_leading(1)
    services.board.show_slots(lambda: (GROUP,))
    await samples(api)  # counting begins with the first scrape
    ids = [(await api.post("/corral/v1/tasks", SLEEP)).json["id"] for _ in range(3)]
    await queue_life.succeed(services.pool, ids[0])
    await queue_life.fail(services.pool, ids[1])
    for _ in range(2):
        seen = await samples(api)
        assert seen["corral_tasks_open", ("default", "queued")] == 1
        assert seen["corral_tasks_ended_total", ("batch", "sleep", "succeeded")] == 1
        assert seen["corral_tasks_ended_total", ("batch", "sleep", "failed")] == 1
        assert seen["corral_task_wait_seconds_count", ("batch",)] == 2
        assert seen["corral_attempts_lost_total", ("sleep",)] == 0
        assert seen["corral_task_duration_seconds_count", ("sleep",)] == 1
        assert seen["corral_slot_busy", ("node/gpu0", "node/gpu0/sleep")] == 0
        assert (
            seen["corral_slot_lanes", ("node/gpu0/sleep",)],
            seen["corral_slot_lanes_busy", ("node/gpu0/sleep",)],
        ) == (1, 0)
        assert seen["corral_dispatcher_leading", ()] == 1
    assert seen["corral_http_requests_total", ("POST", "/corral/v1/tasks", "201")] == 3


async def test_totals_that_others_count_are_followed_and_a_new_beginning_is_one(services: Services) -> None:
    joules: dict[SlotId, float] = {SlotId("node/gpu0"): 100.0}
    slots = [replace(slot, loads=2, evictions=1) for slot in GROUP.slots]
    services.board.show_slots(lambda: (replace(GROUP, slots=tuple(slots)),))
    async with serving(replace(services, joules=joules)) as api:
        before = await samples(api)
        joules[SlotId("node/gpu0")] = 150.0
        slots[:] = [replace(slot, loads=1) for slot in slots]  # its engine was made anew
        after = await samples(api)
    assert before["corral_gpu_energy_joules_total", ("node/gpu0",)] == 100
    assert after["corral_gpu_energy_joules_total", ("node/gpu0",)] == 150
    assert [seen["corral_model_loads_total", ("node/gpu0/sleep",)] for seen in (before, after)] == [2, 3]
    assert [seen["corral_model_evictions_total", ("node/gpu0/sleep",)] for seen in (before, after)] == [1, 1]


async def test_requests_are_counted_by_route_so_that_labels_stay_bounded(api: Serving) -> None:
    for id in (1, 2):
        await api.get(f"/corral/v1/tasks/{id}")
        await api.get(f"/nowhere/{id}")
    seen = await samples(api)
    assert seen["corral_http_requests_total", ("GET", "/corral/v1/tasks/{id}", "404")] == 2
    assert seen["corral_http_requests_total", ("GET", "unmatched", "404")] == 2


@pytest.mark.parametrize(("verb", "gate"), [("pause", "paused"), ("drain", "draining"), ("resume", "open")])
async def test_gate_of_a_queue_is_set_and_told_to_the_dispatcher(
    api: Serving, services: Services, verb: str, gate: str
) -> None:
    await api.post("/corral/v1/queues/small/pause")
    answer = await api.post(f"/corral/v1/queues/small/{verb}")
    assert (answer.status, answer.json["gate"]) == (200, gate)
    await api.post(f"/corral/v1/queues/small/{verb}")
    lines = await read(services.pool, kinds=["gate_changed"])
    assert lines[-1].data == {"kind": "queue", "name": "small", "gate": gate if gate != "paused" else "paused"}
    assert len(lines) == (1 if gate == "paused" else 2), "what changes nothing wakes nobody"


async def test_drained_queue_takes_no_new_tasks(api: Serving) -> None:
    await api.post("/corral/v1/queues/default/drain")
    answer = await api.post("/corral/v1/tasks", SLEEP)
    assert (answer.status, answer.json["error"]["code"]) == (409, "queue.draining")


async def test_gate_of_a_slot_is_shown_before_the_dispatcher_has_seen_it(api: Serving, services: Services) -> None:
    services.board.show_slots(lambda: (GROUP,))
    (paused,) = (await api.post("/corral/v1/slots/pause", {"slots": ["node/gpu0/sleep"]})).json["items"]
    assert (paused["id"], paused["gate"]) == ("node/gpu0/sleep", "paused")
    assert paused["gate_reason"] == "paused by an administrator"
    gates = {slot["id"]: slot["gate"] for slot in (await api.get("/corral/v1/slots")).json["items"]}
    assert gates == {"node/gpu0/sleep": "paused", "node/gpu0/llama": "open"}
    services.board.show_slots(lambda: (a_place_view("sleep", "llama", gates={"sleep": Gate.PAUSED}),))
    (resumed,) = (await api.post("/corral/v1/slots/resume", {"slots": ["node/gpu0/sleep"]})).json["items"]
    assert resumed["gate"] == "open"


async def test_gate_of_a_device_is_that_of_all_its_slots_until_one_gets_its_own(
    api: Serving, services: Services
) -> None:
    services.board.show_slots(lambda: (GROUP, a_place_view("sleep", device="node/gpu1")))
    await api.post("/corral/v1/slots/pause", {"slots": ["node/gpu0/llama"]})
    drained = (await api.post("/corral/v1/slots/drain", {"slots": ["node/gpu0"]})).json
    assert [(slot["id"], slot["gate"]) for slot in drained["items"]] == [
        ("node/gpu0/sleep", "draining"),
        ("node/gpu0/llama", "draining"),
    ]
    assert [device["id"] for device in drained["devices"]] == ["node/gpu0"]
    await api.post("/corral/v1/slots/resume", {"slots": ["node/gpu0/llama"]})
    gates = {slot["id"]: slot["gate"] for slot in (await api.get("/corral/v1/slots")).json["items"]}
    assert gates == {"node/gpu0/sleep": "draining", "node/gpu0/llama": "open", "node/gpu1/sleep": "open"}


INSTANCES = """
apiVersion: corral/v1
name: test
nodes: [{name: elsewhere, address: 192.0.2.7, gpus: [{model: RTX 4090}]}]
engines:
  ollama:
    instances:
"""


async def test_gate_set_last_counts_under_whatever_name_the_slot_has(
    api: Serving, services: Services, tmp_path: Path
) -> None:
    def show(*instances: str) -> None:
        lines = [f'      - {{name: {name}, url: "http://{name}", node: elsewhere, gpu: 0}}\n' for name in instances]
        cluster = load(INSTANCES + "".join(lines), filename="cluster.yaml")
        views = Registry(localize(cluster, data_dir=tmp_path, locate=Path).wanted).list_views()
        services.board.show_slots(lambda: views)

    async def list_gates() -> dict[str, str]:
        return {slot["id"]: slot["gate"] for slot in (await api.get("/corral/v1/slots")).json["items"]}

    engine = "elsewhere/gpu0/ollama"
    show("a")
    await api.post("/corral/v1/slots/drain", {"slots": [engine]})
    show("a", "b")
    assert await list_gates() == {f"{engine}/a": "draining", f"{engine}/b": "draining"}
    await api.post("/corral/v1/slots/resume", {"slots": [f"{engine}/a"]})
    assert await list_gates() == {f"{engine}/a": "open", f"{engine}/b": "draining"}
    show("a")
    assert await list_gates() == {engine: "open"}
    await api.post("/corral/v1/slots/pause", {"slots": [engine]})
    assert await list_gates() == {engine: "paused"}
    show("a", "b")
    resumed = (await api.post("/corral/v1/slots/resume", {"slots": [engine]})).json
    assert [slot["id"] for slot in resumed["items"]] == [f"{engine}/a", f"{engine}/b"]
    assert set((await list_gates()).values()) == {"open"}


async def test_gate_that_an_older_server_set_on_a_device_is_that_of_its_slots(api: Serving, services: Services) -> None:
    await services.pool.execute("insert into gates (kind, name, gate) values ('slot', 'node/gpu0', 'paused')")
    services.board.show_slots(lambda: (GROUP,))
    assert {slot["gate"] for slot in (await api.get("/corral/v1/slots")).json["items"]} == {"paused"}


async def test_unhealthy_slot_stays_unhealthy_when_resumed(api: Serving, services: Services) -> None:
    services.board.show_slots(lambda: (a_place_view("sleep", gates={"sleep": Gate.UNHEALTHY}, reason="no answer"),))
    (shown,) = (await api.post("/corral/v1/slots/resume", {"slots": ["node/gpu0"]})).json["items"]
    assert (shown["gate"], shown["gate_reason"]) == ("unhealthy", "no answer")


async def test_slots_that_do_not_exist_are_reported_all_at_once_with_near_names(
    api: Serving, services: Services
) -> None:
    services.board.show_slots(lambda: (GROUP,))
    asked = {"slots": ["node/gpu9", "node/gpu0/sleep", "node/gpu0/lama"]}
    answer = await api.post("/corral/v1/slots/pause", asked)
    assert (answer.status, answer.json["error"]["code"]) == (404, "slot.missing")
    assert [(problem["what"], problem["hint"]) for problem in answer.json["error"]["problems"]] == [
        ("there is no slot or device 'node/gpu9'", "did you mean `node/gpu0`?"),
        ("there is no slot or device 'node/gpu0/lama'", "did you mean `node/gpu0/llama`?"),
    ]
    assert {slot["gate"] for slot in (await api.get("/corral/v1/slots")).json["items"]} == {"open"}


async def test_queue_that_does_not_exist_is_missing(api: Serving) -> None:
    answer = await api.post("/corral/v1/queues/defualt/pause")
    assert (answer.status, answer.json["error"]["code"]) == (404, "queue.missing")
    assert answer.json["error"]["hint"] == "did you mean `default`?"


async def test_slots_show_what_holds_them_and_what_is_in_memory(api: Serving, services: Services) -> None:
    hold = Hold(kind=HoldKind.PROGRAM, owner="ada", label="train.py", since=datetime(2026, 7, 1, tzinfo=UTC))
    services.board.show_slots(lambda: (replace(GROUP, holds=(hold,)),))
    answer = (await api.get("/corral/v1/slots")).json
    assert [slot["held"]["label"] for slot in answer["items"]] == ["train.py", "train.py"]
    assert [(slot["engine"], slot["problem"]) for slot in answer["items"]] == [
        ("sleep", None),
        ("llama", "not installed"),
    ]
    assert answer["devices"][0]["capacity"] == 24 * 2**30


async def test_engines_say_where_they_run_and_what_they_take(api: Serving, services: Services) -> None:
    services.board.show_slots(lambda: (GROUP,))
    engines = {engine["name"]: engine for engine in (await api.get("/corral/v1/engines")).json["items"]}
    assert engines["sleep"]["slots"] == ["node/gpu0/sleep"]
    assert engines["sleep"]["inputs"]["required"] == ["seconds"]
    assert engines["llama"]["problems"] == {"node/gpu0/llama": "not installed"}
    fetchable = (await api.get("/corral/v1/models")).json["items"]
    assert {model["path"] for model in fetchable} == {None}


async def test_collecting_tells_first_and_does_then(services: Services) -> None:
    cluster = replace(services.cluster, retention=Retention(tasks=timedelta(0), artifacts=timedelta(0)))
    async with serving(replace(services, in_effect=replace(services.in_effect, cluster=cluster))) as api:
        made = await api.post("/corral/v1/batches", {"name": "night", "tasks": [SLEEP]})
        await queue_life.succeed(services.pool, made.json["tasks"][0]["id"])
        foreseen = (await api.post("/corral/v1/gc", {"dry_run": True})).json
        assert (foreseen["tasks"], foreseen["batches"]) == (1, 1)
        assert (await api.get("/corral/v1/tasks")).json["items"] != []
        assert (await api.post("/corral/v1/gc", {})).json == {**foreseen, "dry_run": False}
        assert (await api.get("/corral/v1/tasks")).json["items"] == []


async def test_every_error_has_one_shape_and_names_the_request(api: Serving) -> None:
    for method, path, status, code in (
        ("GET", "/nowhere", 404, "request.no_route"),
        ("GET", "/v1/tasks", 404, "request.no_route"),
        ("DELETE", "/corral/v1/tasks", 405, "request.method"),
        ("GET", "/corral/v1/tasks/7", 404, "task.missing"),
        ("GET", "/corral/v1/tasks/x", 422, "request.invalid"),
        ("GET", "/corral/v1/tasks?limit=501", 422, "request.invalid"),
        ("GET", "/corral/v1/tasks?queue=%00", 422, "request.invalid"),
        ("GET", f"/corral/v1/tasks/{2**63}", 422, "request.invalid"),
    ):
        answer = await api.call(method, path, headers={"X-Request-Id": "mine-1"})
        error = answer.json["error"]
        assert (answer.status, error["code"]) == (status, code), path
        assert set(error) == {"code", "kind", "what", "where", "hint", "request_id", "problems"}
        assert (error["request_id"], answer.headers["x-request-id"]) == ("mine-1", "mine-1")


@pytest.mark.parametrize("given", ["a b", "x" * 65, "<script>"])
async def test_request_id_that_could_harm_a_log_is_replaced(api: Serving, given: str) -> None:
    answer = await api.get("/health/live", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] != given


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "request.malformed_json"),
        (b'{"engine": NaN}', 400, "request.malformed_json"),
        (b'{"engine": "sleep", "inputs": {"seconds": 1e999}}', 422, "request.unusable_json"),
        (rb'{"engine": "sleep", "inputs": {"a": "\u0000"}}', 422, "request.unusable_json"),
        (rb'{"engine": "sleep", "name": "\ud800"}', 422, "request.unusable_json"),
        (b"[]", 422, "request.invalid"),
        (b"", 422, "request.invalid"),
    ],
)
async def test_body_that_cannot_be_used_is_refused_with_a_reason(
    api: Serving, body: bytes, status: int, code: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await api.call("POST", "/corral/v1/tasks", data=body, headers=headers)
    assert (answer.status, answer.json["error"]["code"]) == (status, code)


async def test_body_above_the_bound_is_refused_before_it_is_read(api: Serving) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": str(10**10), "Expect": "100-continue"}
    async with api.session.post(f"{api.url}/corral/v1/tasks", headers=headers) as answer:
        assert answer.status == 413


async def test_bug_is_told_without_its_inside(services: Services) -> None:
    def broken(_: int) -> None:
        raise RuntimeError("secret inside")

    async with serving(replace(services, explain=broken)) as api:
        id = (await api.post("/corral/v1/tasks", SLEEP)).json["id"]
        answer = await api.get(f"/corral/v1/tasks/{id}/explain")
    assert (answer.status, answer.json["error"]["code"]) == (500, "server.bug")
    assert b"secret" not in answer.body
    assert answer.headers["x-request-id"] in answer.json["error"]["hint"]


async def test_log_of_a_slot_is_read_from_its_end_and_on(api: Serving, services: Services, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    services.board.show_slots(lambda: (a_place_view("comfyui", log=log),))
    path = "/corral/v1/slots/logs?slot=node/gpu0/comfyui"
    assert (await api.get(path)).json["lines"] == []

    log.write_text("one\ntwo\nthree\n")
    last = (await api.get(f"{path}&lines=2")).json
    log.write_text("one\ntwo\nthree\nfour\n")
    more = (await api.get(f"{path}&after={last['position']}")).json

    assert (last["lines"], more["lines"]) == (["two", "three"], ["four"])


async def test_slot_without_a_log_is_named_as_such(api: Serving, services: Services) -> None:
    services.board.show_slots(lambda: (a_place_view("comfyui"),))
    codes = [
        (answer.status, answer.json["error"]["code"])
        for answer in [
            await api.get(f"/corral/v1/slots/logs?slot=node/gpu0/{engine}") for engine in ("comfyui", "comfy")
        ]
    ]
    assert codes == [(404, "slot.no_log"), (404, "slot.missing")]


async def test_every_route_is_described(api: Serving) -> None:
    described = (await api.get("/openapi.json")).json
    operations = [operation for methods in described["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"], operation["operationId"]
        assert operation["description"], operation["operationId"]
        refused = {status for status in operation["responses"] if status >= "400"}
        assert refused, operation["operationId"]
        for status in refused:
            schema = operation["responses"][status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorOut"}


async def test_gpu_is_given_to_other_programs_for_a_time_and_taken_back(api: Serving, services: Services) -> None:
    services.board.show_slots(lambda: (GROUP,))

    given = (await api.post("/corral/v1/slots/yield", {"devices": ["node/gpu0"], "for_s": 7200})).json
    listed = (await api.get("/corral/v1/slots")).json
    back = (await api.post("/corral/v1/slots/take-back", {"devices": ["node/gpu0"]})).json
    log = (await api.get("/corral/v1/audit")).json["items"]

    yields = given["devices"][0]["yields"]
    assert yields["to"] == "programs of local, by hand"
    assert datetime.fromisoformat(yields["until"]) - datetime.fromisoformat(yields["since"]) == timedelta(hours=2)
    assert listed["devices"][0]["yields"] == yields
    assert {(slot["gate"], slot["gate_reason"]) for slot in listed["items"]} == {
        ("draining", "yields to programs of local, by hand")
    }
    assert back["devices"][0]["yields"] is None
    assert {slot["gate"] for slot in back["items"]} == {"open"}
    assert [entry["action"] for entry in log] == ["device_taken_back", "device_handed_over"]


async def test_device_that_does_not_exist_is_not_given_away(api: Serving, services: Services) -> None:
    services.board.show_slots(lambda: (GROUP,))

    refused = await api.post("/corral/v1/slots/yield", {"devices": ["node/gpu1"]})

    assert refused.status == 404
    assert refused.json["error"]["problems"][0]["where"] == "devices"
