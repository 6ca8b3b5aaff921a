"""Grafana: dashboards and the files that provision them.

Built with Grafana's own foundation SDK, so that a panel is what Grafana's schema says. A dashboard names no address and
no data source: the data source is a variable, and the provisioned one is the default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from corral.rendering.documents import write_document
from corral.rendering.grafana.machine_dashboards import make_cluster_board, make_gpu_board
from corral.rendering.grafana.panels import Board
from corral.rendering.grafana.task_dashboards import make_engine_board, make_queue_board
from corral.rendering.installation import Installation
from corral.rendering.prometheus.targets import find_targets

PROMETHEUS_UID = "corral-prometheus"
LOKI_UID = "corral-loki"
_FOLDER = "/etc/grafana/dashboards"


def render_grafana(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render every dashboard that the cluster file has something for, and the files that provision them."""
    targets = find_targets(installations)
    boards = [make_cluster_board(targets), make_queue_board(targets), make_engine_board(targets)]
    if targets.gpu_nodes:
        boards.append(make_gpu_board(targets))
    shared = replace(installations[0], layout=None)
    files = {f"grafana/dashboards/{board.name}.json": _render_board(shared, board) for board in boards}
    return {**files, **_render_provisioning(shared)}


def _render_board(installation: Installation, board: Board) -> str:
    """Render JSON, which has no comments: the header is in the description."""
    dashboard = board.build(installation)
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _render_provisioning(installation: Installation) -> Mapping[str, str]:
    """Render the data sources and the folder of the dashboards; addresses come from Grafana's environment."""
    sources = [_make_source("Prometheus", "prometheus", PROMETHEUS_UID, "PROMETHEUS_URL", is_default=True)]
    sources.append(_make_source("Loki", "loki", LOKI_UID, "LOKI_URL", is_default=False))
    provider = {
        "name": f"corral-{installation.cluster.name}",
        "folder": f"Corral {installation.cluster.name}",
        "type": "file",
        "allowUiUpdates": False,
        "options": {"path": _FOLDER},
    }
    return {
        "grafana/provisioning/datasources/corral.yaml": write_document(
            installation,
            {"apiVersion": 1, "datasources": sources},
            "Grafana fills in PROMETHEUS_URL and LOKI_URL from its environment.",
        ),
        "grafana/provisioning/dashboards/corral.yaml": write_document(
            installation,
            {"apiVersion": 1, "providers": [provider]},
            f"grafana/dashboards goes to {_FOLDER}, grafana/provisioning to /etc/grafana/provisioning.",
        ),
    }


def _make_source(name: str, kind: str, uid: str, variable: str, *, is_default: bool) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "uid": uid,
        "access": "proxy",
        "url": f"${{{variable}}}",
        "isDefault": is_default,
        "editable": False,
    }
