"""Use cases about the server's own cluster file over HTTP, and models of its store."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corral.operations.cluster_file import read_cluster_file
from corral.operations.forecast_requests import ForecastAsked
from corral.operations.forecasting import draw_night, play_workloads
from corral.operations.planning import PlanAsked, answer_plan, plan_layouts
from corral.operations.upgrading import ChangeAsked, UpgradeAsked, compare_upgrade, record_upgrade
from corral.server.services import Services
from corral.wire import to_json
from doubles.serving import Serving, serving

HYDRA = Path(__file__).parents[3] / "examples" / "hydra" / "before.yaml"
TWO_ALIKE = {"word": "replace", "value": "hydra-compute/gpu1=RTX 5070 Ti"}
FILE = replace(read_cluster_file(HYDRA), name="before.yaml")


@pytest.fixture
async def api(services: Services) -> AsyncIterator[Serving]:
    """The API of a server whose cluster file is the example's."""
    async with serving(replace(services, cluster_file=HYDRA)) as api:
        yield api


async def test_plan_power_and_forecast_are_those_of_the_use_cases_for_the_servers_file(api: Serving) -> None:
    plan = await api.get("/corral/v1/cluster/plan")
    power = await api.get("/corral/v1/cluster/power")
    forecast = await api.get("/corral/v1/cluster/forecast?night=1h&workload=images")
    chart = await api.get("/corral/v1/cluster/forecast/chart?night=1h&workload=images")

    assert plan.json == to_json(answer_plan(plan_layouts(PlanAsked(cluster=FILE))))
    assert [node["node"] for node in power.json["nodes"]] == ["hydra-ai", "hydra-compute", "hydra-storage"]
    assert [workload["per_night"]["value"] for workload in forecast.json["workloads"]] == [120]
    night = play_workloads(ForecastAsked(cluster=FILE, night="1h", workload="images"), finished=lambda _: [])
    assert chart.body.decode() == draw_night(night)
    assert chart.headers["content-type"].startswith("image/svg+xml")
    assert chart.headers["content-security-policy"].startswith("sandbox")


async def test_a_model_is_judged_on_the_clusters_gpus_unless_others_are_named(api: Serving) -> None:
    here = (await api.post("/corral/v1/cluster/fit", {"model": "llama3:8b"})).json
    named = (await api.post("/corral/v1/cluster/fit", {"model": "llama3:8b", "gpus": ["RTX 4060"]})).json

    assert {gpu["name"] for verdict in here["verdicts"] for gpu in verdict["gpus"]} > {"hydra-ai/gpu0"}
    assert {gpu["name"] for verdict in named["verdicts"] for gpu in verdict["gpus"]} == {"RTX 4060"}


async def test_a_change_is_compared_as_json_and_as_a_page_and_its_checklist_is_kept(api: Serving) -> None:
    report = await api.post("/corral/v1/cluster/upgrade", {"changes": [TWO_ALIKE]})
    page = await api.post("/corral/v1/cluster/upgrade", {"changes": [TWO_ALIKE]}, headers={"Accept": "text/html"})
    asked = UpgradeAsked(cluster=FILE, changes=(ChangeAsked(**TWO_ALIKE),))
    assert report.json == json.loads(json.dumps(record_upgrade(compare_upgrade(asked))))
    assert page.headers["content-type"].startswith("text/html")
    assert "<svg" in page.body.decode()

    checklist = (await api.post("/corral/v1/cluster/checklist", {"changes": [TWO_ALIKE]})).json
    first = checklist["left"][0]
    settled = {"changes": [TWO_ALIKE], "done": [first]}
    assert (await api.post("/corral/v1/cluster/checklist", settled)).json["error"]["code"] == "checklist.no_reason"
    kept = await api.post("/corral/v1/cluster/checklist", {**settled, "reason": "seen in the rack"})
    assert first not in kept.json["left"]
    again = (await api.post("/corral/v1/cluster/checklist", {"changes": [TWO_ALIKE]})).json
    item = next(item for item in again["items"] if item["id"] == first)
    assert (item["status"], item["evidence"]) == ("done", "seen in the rack")


async def test_every_problem_of_changes_and_a_missing_file_are_reported(api: Serving, services: Services) -> None:
    changes = [{"word": "replace", "value": "hydra-ai/gpu9=RTX 5070 Ti"}, {"word": "swap", "value": "x"}]
    answer = await api.post("/corral/v1/cluster/upgrade", {"changes": changes})
    assert answer.status == 422
    assert len(answer.json["error"]["problems"]) == 2

    async with serving(replace(services, cluster_file=Path("/nowhere/cluster.yaml"))) as other:
        missing = await other.get("/corral/v1/cluster/plan")
    assert (missing.status, missing.json["error"]["code"]) == (404, "cluster.unreadable")


async def test_a_viewer_sees_plans_and_only_administrators_see_parts_of_the_file(services: Services) -> None:
    async with serving(replace(services, cluster_file=HYDRA, loopback=False)) as api:
        admin = {"Authorization": f"Bearer {services.local_token}"}
        asked = {"name": "vera", "role": "viewer"}
        token = (await api.post("/corral/v1/tokens", asked, headers=admin)).json["token"]
        viewer = {"Authorization": f"Bearer {token}"}
        seen = {
            path: (await api.get(f"/corral/v1/cluster/{path}", headers=viewer)).status
            for path in ("plan", "power", "forecast?night=1h")
        }
        fit = await api.post("/corral/v1/cluster/fit", {"model": "llama3:8b"}, headers=viewer)
        bodies: dict[str, dict[str, Any]] = {
            "cluster/upgrade": {"changes": [TWO_ALIKE]},
            "cluster/checklist": {"changes": [TWO_ALIKE]},
            "models/delete": {"model": "m"},
            "batches/file": {"file": {}},
            "batches/file/forecast": {"file": {}},
        }
        refused = [(await api.post(f"/corral/v1/{path}", body, headers=viewer)).status for path, body in bodies.items()]
    assert set(seen.values()) == {200}
    assert fit.status == 200
    assert refused == [403] * 5


async def test_a_model_is_fetched_with_its_steps_and_deleted(api: Serving, services: Services, tmp_path: Path) -> None:
    source = tmp_path / "tiny.gguf"
    source.write_bytes(b"GGUF" + bytes(1000))
    headers = {"Accept": "text/event-stream"}
    stream = await api.post("/corral/v1/models/pull", {"model": str(source)}, headers=headers)
    events = [block.split("\n") for block in stream.body.decode().strip().split("\n\n")]
    assert events[-1][0] == "event: done", stream.body
    name = json.loads(events[-1][1].removeprefix("data: "))["name"]
    assert name in {model["name"] for model in (await api.get("/corral/v1/models")).json["items"]}

    deleted = await api.post("/corral/v1/models/delete", {"model": name})
    assert deleted.json == {"instance": None, "model": name}
    assert source.exists()
    assert (await api.post("/corral/v1/models/delete", {"model": name})).status == 404
    failed = await api.post("/corral/v1/models/pull", {"model": "no-such-model"}, headers=headers)
    assert failed.body.decode().startswith("event: failed")
    actions = [entry["action"] for entry in (await api.get("/corral/v1/audit")).json["items"]]
    assert actions[:2] == ["model_deleted", "model_pulled"]
