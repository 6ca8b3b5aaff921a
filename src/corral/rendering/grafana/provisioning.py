"""How Grafana finds its data sources and dashboards; addresses come from its environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corral.rendering.documents import document
from corral.rendering.installation import Installation

PROMETHEUS_UID = "corral-prometheus"
LOKI_UID = "corral-loki"
_FOLDER = "/etc/grafana/dashboards"


def files(installation: Installation) -> Mapping[str, str]:
    """Data sources, and where the dashboards lie."""
    sources = [_source("Prometheus", "prometheus", PROMETHEUS_UID, "PROMETHEUS_URL", is_default=True)]
    sources.append(_source("Loki", "loki", LOKI_UID, "LOKI_URL", is_default=False))
    provider = {
        "name": f"corral-{installation.cluster.name}",
        "folder": f"Corral {installation.cluster.name}",
        "type": "file",
        "allowUiUpdates": False,
        "options": {"path": _FOLDER},
    }
    return {
        "grafana/provisioning/datasources/corral.yaml": document(
            installation,
            {"apiVersion": 1, "datasources": sources},
            "Grafana fills in PROMETHEUS_URL and LOKI_URL from its environment.",
        ),
        "grafana/provisioning/dashboards/corral.yaml": document(
            installation,
            {"apiVersion": 1, "providers": [provider]},
            f"grafana/dashboards goes to {_FOLDER}, grafana/provisioning to /etc/grafana/provisioning.",
        ),
    }


def _source(name: str, kind: str, uid: str, variable: str, *, is_default: bool) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "uid": uid,
        "access": "proxy",
        "url": f"${{{variable}}}",
        "isDefault": is_default,
        "editable": False,
    }
