"""Dashboards: what Grafana's SDK reads back, what promtool says of every expression, and that panels do not overlap."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as models

from corral.operations.cluster_file import read_cluster
from corral.rendering.prometheus.recording import CLOCK_METRICS, COUNTERS
from corral.rendering.targets import render_cluster
from corral.server.metrics import Metrics
from doubles.clusters import forty_mixed_nodes

ROOT = Path(__file__).parents[4]
EXAMPLES = {
    "hydra": "examples/hydra/cluster.yaml",
    "hydra-before": "examples/hydra/before.yaml",
    "harvis": "examples/harvis/cluster.yaml",
    "edge": "examples/edge.yaml",
}
EVERYWHERE = [*EXAMPLES, "forty"]
VARIABLES = {"$node", "$engine"}
LONGEST_UID = 40


@cache
def rendered(name: str) -> dict[str, str]:
    text = (ROOT / EXAMPLES[name]).read_text() if name in EXAMPLES else forty_mixed_nodes()
    cluster = read_cluster(text, name="cluster.yaml").cluster
    return render_cluster(cluster, source="cluster.yaml", text=text, only=["grafana", "prometheus"]).files


def boards(name: str) -> dict[str, dict[str, Any]]:
    parsed = {Path(path).stem: json.loads(text) for path, text in rendered(name).items() if path.endswith(".json")}
    assert set(parsed) >= {"cluster", "queues", "engines"}
    return parsed


def panels(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for board, value in boards(name).items():
        yield from ((board, panel) for panel in value["panels"])


def expressions(name: str) -> list[str]:
    return [target["expr"] for _, panel in panels(name) for target in panel.get("targets", ())]


def titles(name: str, board: str) -> list[str]:
    return [panel["title"] for panel in boards(name)[board]["panels"]]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_grafanas_sdk_reads_each_dashboard_back_as_it_was_written(name: str) -> None:
    register_default_plugins()
    for value in boards(name).values():
        read = models.Dashboard.from_json(value)
        again = json.loads(json.dumps(read, cls=JSONEncoder))
        assert again == value


@pytest.mark.parametrize("name", EVERYWHERE)
def test_promtool_reads_every_expression(name: str, tmp_path: Path) -> None:
    queries = expressions(name)
    assert len(queries) > 20
    records = [
        {"record": f"panel:{index}", "expr": expression.replace("$node", ".*").replace("$engine", ".*")}
        for index, expression in enumerate(queries)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", EVERYWHERE)
def test_panels_ask_only_for_what_is_there(name: str) -> None:
    registry: Any = vars(Metrics())["_registry"]  # the server hands out text only, which lacks metrics without a value
    rules = yaml.safe_load(rendered(name)["prometheus/rules/recording.yml"])["groups"][0]["rules"]
    fields = {counter.field for counter in COUNTERS} | set(CLOCK_METRICS)
    for expression in expressions(name):
        assert set(re.findall(r"\bcorral_\w+", expression)) <= set(registry._names_to_collectors), expression
        assert set(re.findall(r"\bcorral:[\w:]+", expression)) <= {rule["record"] for rule in rules}, expression
        assert set(re.findall(r"\bDCGM_\w+", expression)) <= fields, expression
        assert set(re.findall(r"\$\w+", expression)) <= VARIABLES, expression


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_dashboard_names_no_address_and_its_data_source_is_a_variable(name: str) -> None:
    for board, value in boards(name).items():
        assert "://" not in json.dumps(value), board
        assert next(variable["name"] for variable in value["templating"]["list"]) == "datasource"
    for _, panel in panels(name):
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


@pytest.mark.parametrize("name", EVERYWHERE)
def test_panels_are_numbered_and_do_not_overlap(name: str) -> None:
    for board, value in boards(name).items():
        assert [panel["id"] for panel in value["panels"]] == list(range(1, len(value["panels"]) + 1))
        for panel, other in combinations(value["panels"], 2):
            assert not _overlap(panel["gridPos"], other["gridPos"]), (board, panel["title"], other["title"])
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in value["panels"])


def test_uids_stay_the_same_and_are_unique() -> None:
    uids = {board: value["uid"] for board, value in boards("hydra").items()}
    assert uids == {
        "cluster": "corral-cluster-hydra",
        "engines": "corral-engines-hydra",
        "gpus": "corral-gpus-hydra",
        "queues": "corral-queues-hydra",
    }
    assert all(len(value["uid"]) <= LONGEST_UID for name in EVERYWHERE for value in boards(name).values())


def test_titles_come_from_the_cluster_file() -> None:
    assert "hydra-compute-pool: hydra-compute/gpu0, hydra-compute/gpu1" in titles("hydra", "queues")
    assert {"NVIDIA GeForce RTX 5090 (1)", "NVIDIA GeForce RTX 5070 Ti (2)"} <= set(titles("hydra", "gpus"))
    assert "Nodes up, of 3" in titles("hydra", "cluster")
    assert boards("harvis")["cluster"]["title"] == "harvis: overview"


def test_a_cluster_without_known_cards_has_no_dashboard_of_them() -> None:
    assert "gpus" not in boards("edge")
    assert "DCGM" not in "".join(expressions("edge"))


def test_the_limit_of_the_cluster_file_is_drawn_where_there_is_one() -> None:
    def drawn(name: str) -> bool:
        return any("corral:gpu_power_limit_watts:expected" in expression for expression in expressions(name))

    assert drawn("hydra")
    assert not drawn("harvis")


def test_a_dashboard_says_what_made_it() -> None:
    for value in boards("hydra").values():
        assert value["description"].startswith("Written by `corral render` from cluster.yaml (sha256:")


def test_grafana_is_told_its_data_sources_by_its_environment() -> None:
    files = rendered("hydra")
    sources = yaml.safe_load(files["grafana/provisioning/datasources/corral.yaml"])["datasources"]
    assert [(source["uid"], source["url"]) for source in sources] == [
        ("corral-prometheus", "${PROMETHEUS_URL}"),
        ("corral-loki", "${LOKI_URL}"),
    ]
    providers = yaml.safe_load(files["grafana/provisioning/dashboards/corral.yaml"])["providers"]
    assert [provider["name"] for provider in providers] == ["corral-hydra"]


def test_the_same_cluster_file_gives_the_same_bytes() -> None:
    first = rendered("forty")
    rendered.cache_clear()
    assert rendered("forty") == first


def _overlap(first: dict[str, int], other: dict[str, int]) -> bool:
    across = first["x"] < other["x"] + other["w"] and other["x"] < first["x"] + first["w"]
    down = first["y"] < other["y"] + other["h"] and other["y"] < first["y"] + first["h"]
    return across and down
