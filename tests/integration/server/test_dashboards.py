"""What the rendered dashboards ask of Corral's metrics, answered by a real Prometheus that scrapes a server.

The panels of machines want NVIDIA's exporter and the node exporter, which are not here; they are left out.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from corral.operations.cluster_file import read_cluster
from corral.rendering.targets import render_cluster
from corral.server.services import Services
from corral.tasks.guest_counts import GuestCounts
from corral.work import SlotId
from doubles import queue_life
from doubles.guest_desk import OpenDesk
from doubles.serving import Serving, serving
from doubles.slots_shown import a_place_view

EXAMPLE = Path(__file__).parents[3] / "examples" / "edge.yaml"
OTHERS = re.compile(r"\b(DCGM_|node_|kube_|kubelet_|container_|up\b)")
WITHIN_S = 60.0


class Prometheus:
    """A Prometheus that scrapes every second."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session

    async def ask(self, expression: str) -> list[float]:
        """Return the values that an expression has now; none while the server starts."""
        try:
            async with self._session.get(f"{self._url}/api/v1/query", params={"query": expression}) as response:
                answer = await response.json()
        except aiohttp.ClientError:
            return []
        results: list[dict[str, Any]] = answer.get("data", {}).get("result", [])
        return [float(result["value"][1]) for result in results]


@asynccontextmanager
async def run_prometheus(target: str, rules: str, folder: Path) -> AsyncIterator[Prometheus]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "rules.yml").write_text(rules)
    job = {"job_name": "corral", "static_configs": [{"targets": [target], "labels": {"node": "local"}}]}
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": every, "rule_files": ["rules.yml"], "scrape_configs": [job]}))
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    )
    try:
        async with aiohttp.ClientSession() as session:
            yield Prometheus(f"http://{address}", session)
    finally:
        process.kill()
        await process.wait()


def list_expressions(files: Mapping[str, str]) -> dict[str, str]:
    """Return the expressions that ask for Corral's metrics alone, by board and panel."""
    expressions: dict[str, str] = {}
    for path, text in files.items():
        if path.endswith(".json"):
            for panel in json.loads(text)["panels"]:
                for target in panel.get("targets", ()):
                    expression = target["expr"].replace("$node", ".*").replace("$engine", ".*")
                    expression = expression.replace(":1m]", ":1s]")  # a step of a minute is seen after a minute
                    if "corral" in expression and not OTHERS.search(expression):
                        expressions[f"{Path(path).stem}, {panel['title']}: {expression}"] = expression
    return expressions


async def have_work(api: Serving, services: Services, counts: GuestCounts, joules: dict[SlotId, float]) -> None:
    """Let a task succeed, one fail, one run, one wait, and a guest have its turn."""
    task = {"engine": "sleep", "inputs": {"seconds": 0}}
    ids = [(await api.post("/corral/v1/tasks", task)).json["id"] for _ in range(4)]
    await queue_life.succeed(services.pool, ids[0])
    await queue_life.fail(services.pool, ids[1])
    await queue_life.start(services.pool, ids[2])
    counts.note_wait("sleep", 0.25)
    joules[SlotId("local/gpu0")] = joules.get(SlotId("local/gpu0"), 0.0) + 100.0


async def test_every_panel_of_corrals_metrics_shows_data(services: Services, tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    cluster = read_cluster(text, name="cluster.yaml").cluster
    files = render_cluster(cluster, source="cluster.yaml", text=text, only=["grafana", "prometheus"]).files
    counts, joules = GuestCounts(), dict[SlotId, float]()
    services.board.set_leading(1)
    services.board.show_slots(lambda: (a_place_view("sleep"),))
    expressions = list_expressions(files)
    assert len(expressions) > 20
    async with serving(replace(services, guests=OpenDesk({}), guest_counts=counts, joules=joules)) as api:
        target = api.url.removeprefix("http://")
        async with run_prometheus(target, files["prometheus/rules/recording.yml"], tmp_path) as prometheus:
            dark, ends_at = dict(expressions), time.monotonic() + WITHIN_S
            while dark and time.monotonic() < ends_at:
                await have_work(api, services, counts, joules)
                for panel, expression in dict(dark).items():
                    values = await prometheus.ask(expression)
                    if values and not all(map(math.isnan, values)):
                        del dark[panel]
                await asyncio.sleep(1)
            assert not dark
