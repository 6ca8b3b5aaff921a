"""Add-ons of a K3s cluster as HelmChart objects, each in a file of its own: apply those that the cluster lacks.

K3s installs the chart that such an object names (docs.k3s.io, Helm). Versions are pinned, each with the place where it
was read; no chart was installed when this was written. Passwords are in Secrets that people make, never in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from corral.cluster.values import GpuMode
from corral.hardware.makers import NVIDIA
from corral.rendering.documents import Json, write_document, write_manifests
from corral.rendering.gpu_modes import list_gpus_of_maker
from corral.rendering.grafana import render_grafana
from corral.rendering.installation import Installation
from corral.rendering.kubernetes.gpus import RUNTIME_CLASS, find_chart_values
from corral.rendering.names import dns_name
from corral.rendering.prometheus import render_prometheus
from corral.rendering.prometheus.targets import MONITORING

_NAMESPACE = MONITORING
_PROMETHEUS_CHARTS = "https://prometheus-community.github.io/helm-charts"
_GRAFANA_CHARTS = "https://grafana.github.io/helm-charts"
_RULES = {"recording_rules.yml": "prometheus/rules/recording.yml", "alerting_rules.yml": "prometheus/rules/alerts.yml"}
_DASHBOARD = "grafana_dashboard"
"""The label by which Grafana's chart finds dashboards (`sidecar.dashboards.label`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart, and where its version was read."""

    name: str
    version: str
    source: str
    repository: str | None = None
    """None where `name` is its address in a registry."""
    namespace: str = _NAMESPACE
    read_on: str = "2026-11-30"
    """The day on which its version was read there; newer ones are not known here."""


_KUEUE = Chart(
    name="oci://registry.k8s.io/kueue/charts/kueue",
    version="0.19.2",
    source="the version of Kueue that the rendered queues were admitted by; its chart has the same number",
    namespace="kueue-system",
)
_DEVICE_PLUGIN = Chart(
    name="nvidia-device-plugin",
    version="0.17.1",
    source="aws-ia/terraform-aws-eks-blueprints, patterns/ml-container-cache/helm.tf",
    repository="https://nvidia.github.io/k8s-device-plugin",
    namespace="nvidia-device-plugin",
)
_DRA_DRIVER = Chart(
    name="oci://registry.k8s.io/dra-driver-nvidia/charts/dra-driver-nvidia-gpu",
    version="0.4.1",
    source="kubernetes-sigs/dra-driver-nvidia-gpu, Chart.yaml and its documentation",
    namespace="dra-driver-nvidia-gpu",
)
_DCGM = Chart(
    name="dcgm-exporter",
    version="4.1.1",
    source="an Argo CD application that uses it; NVIDIA's own Chart.yaml was not read at this version",
    repository="https://nvidia.github.io/dcgm-exporter/helm-charts",
)
_NODE_EXPORTER = Chart(
    name="prometheus-node-exporter",
    version="4.45.3",
    source="prometheus-community/helm-charts, Chart.yaml",
    repository=_PROMETHEUS_CHARTS,
)
_STATE_METRICS = Chart(
    name="kube-state-metrics",
    version="5.34.0",
    source="a Terraform release that uses it; its Chart.yaml was not read at this version",
    repository=_PROMETHEUS_CHARTS,
)
_PROMETHEUS = Chart(
    name="prometheus",
    version="27.19.0",
    source="prometheus-community/helm-charts, Chart.yaml (Prometheus 3.4.1)",
    repository=_PROMETHEUS_CHARTS,
)
_GRAFANA = Chart(
    name="grafana",
    version="10.1.2",
    source="a Terraform release that uses it; its Chart.yaml was not read at this version",
    repository=_GRAFANA_CHARTS,
)
_LOKI = Chart(
    name="loki",
    version="6.29.0",
    source="grafana/loki, production/helm/loki/Chart.yaml (Loki 3.4.2)",
    repository=_GRAFANA_CHARTS,
)
_GRAFANA_SECRET = "grafana-admin"
_TOKEN_SECRET = "corral-token"


def render_addons(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render a file for each add-on that the rendered files build on; texts by path. Empty for other than K3s."""
    kubernetes = installations[0].cluster.kubernetes
    if kubernetes is None or kubernetes.distribution != "k3s":
        return {}
    installation = replace(installations[0], layout=None)
    files = {
        f"addons/{name}.yaml": write_document(
            installation, _build_chart(name, chart, values), *_list_notes(chart, name)
        )
        for name, (chart, values) in _list_charts(installations).items()
    }
    files["addons/grafana-dashboards.yaml"] = _render_dashboards(installations, installation)
    return files


def _list_charts(installations: tuple[Installation, ...]) -> dict[str, tuple[Chart, dict[str, Json]]]:
    cluster = installations[0].cluster
    by_claim = installations[0].gpu_mode is GpuMode.DRA
    charts: dict[str, tuple[Chart, dict[str, Json]]] = {}
    if any(node.gpus for node in cluster.kubernetes_nodes):
        charts["kueue"] = (_KUEUE, {})
    if any(node.gpus is None or list_gpus_of_maker(node, NVIDIA) for node in cluster.kubernetes_nodes):
        name, chart = ("dra-driver-nvidia-gpu", _DRA_DRIVER) if by_claim else ("nvidia-device-plugin", _DEVICE_PLUGIN)
        charts[name] = (chart, find_chart_values(installations[0], installations))
        # Without Prometheus' operator there is no kind ServiceMonitor, which this chart makes by default.
        charts["dcgm-exporter"] = (_DCGM, {"serviceMonitor": {"enabled": False}, "runtimeClassName": RUNTIME_CLASS})
    charts["node-exporter"] = (_NODE_EXPORTER, {})
    charts["kube-state-metrics"] = (_STATE_METRICS, {})
    charts["prometheus"] = (_PROMETHEUS, _make_prometheus_values(installations))
    charts["grafana"] = (_GRAFANA, _make_grafana_values())
    charts["loki"] = (_LOKI, _make_loki_values())
    return charts


def _build_chart(name: str, chart: Chart, values: Mapping[str, Json]) -> dict[str, Json]:
    spec: dict[str, Json] = {"chart": chart.name, "version": chart.version}
    if chart.repository is not None:
        spec["repo"] = chart.repository
    spec |= {"targetNamespace": chart.namespace, "createNamespace": True}
    if values:
        spec["valuesContent"] = yaml.dump(dict(values), Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
    return {
        "apiVersion": "helm.cattle.io/v1",
        "kind": "HelmChart",
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": spec,
    }


def _list_notes(chart: Chart, name: str) -> list[str]:
    notes = [
        f"Version {chart.version}, read on {chart.read_on}: {chart.source}. It was not installed when this was written."
    ]
    if name in ("grafana", "prometheus"):
        notes.append(f"Its Secret has to be there before: kubectl create namespace {chart.namespace}")
    if name == "grafana":
        notes.append(
            f"kubectl create secret generic {_GRAFANA_SECRET} --namespace {chart.namespace} "
            "--from-literal=admin-user=admin --from-literal=admin-password=..."
        )
    if name == "prometheus":
        notes.append(
            f"kubectl create secret generic {_TOKEN_SECRET} --namespace {chart.namespace} "
            '--from-literal=corral-token="$(corral tokens create prometheus --role viewer -q)"'
        )
    if name == "kueue":
        notes.append("For claims (DRA), its configuration needs what kueue/<layout>/configuration.yaml has.")
    return notes


def _make_prometheus_values(installations: tuple[Installation, ...]) -> dict[str, Json]:
    """Prometheus with the rendered configuration and rules, at the places where the chart has them."""
    files = render_prometheus(installations)
    settings: dict[str, Any] = yaml.load(
        files["prometheus/prometheus.yml"], yaml.CSafeLoader
    )  # plain values of our own file
    settings["rule_files"] = [f"/etc/config/{name}" for name in _RULES]
    for job in settings["scrape_configs"]:
        credentials = job.get("authorization", {})
        if "credentials_file" in credentials:
            credentials["credentials_file"] = f"/etc/secrets/{credentials['credentials_file'].rpartition('/')[2]}"
        for listed in job.get("file_sd_configs", []):
            listed["files"] = [f"/etc/config/{path.rpartition('/')[2]}" for path in listed["files"]]
    rules = {name: yaml.load(files[path], yaml.CSafeLoader) for name, path in _RULES.items() if path in files}
    disabled = ("alertmanager", "prometheus-pushgateway", "kube-state-metrics", "prometheus-node-exporter")
    mount = {"name": _TOKEN_SECRET, "secretName": _TOKEN_SECRET, "mountPath": "/etc/secrets", "readOnly": True}
    return {
        **{name: {"enabled": False} for name in disabled},
        "server": {"extraSecretMounts": [mount]},
        "serverFiles": {"prometheus.yml": settings, **rules},
    }


def _make_grafana_values() -> dict[str, Json]:
    addresses = {
        "PROMETHEUS_URL": f"http://prometheus-server.{_NAMESPACE}",
        "LOKI_URL": f"http://loki.{_NAMESPACE}:3100",
    }
    sources = [
        {"name": "Prometheus", "type": "prometheus", "uid": "corral-prometheus", "isDefault": True},
        {"name": "Loki", "type": "loki", "uid": "corral-loki"},
    ]
    urls = list(addresses.values())
    listed = [{**source, "access": "proxy", "url": url} for source, url in zip(sources, urls, strict=True)]
    return {
        "admin": {"existingSecret": _GRAFANA_SECRET, "userKey": "admin-user", "passwordKey": "admin-password"},
        "datasources": {"datasources.yaml": {"apiVersion": 1, "datasources": listed}},
        "sidecar": {"dashboards": {"enabled": True, "label": _DASHBOARD}},
        "persistence": {"enabled": True, "size": "5Gi"},
    }


def _make_loki_values() -> dict[str, Json]:
    """Loki as one process with its files on a volume: enough for the logs of a few machines."""
    index = {"prefix": "index_", "period": "24h"}
    schema = {"from": "2024-04-01", "store": "tsdb", "object_store": "filesystem", "schema": "v13", "index": index}
    nothing = {"replicas": 0}
    return {
        "deploymentMode": "SingleBinary",
        "loki": {
            "auth_enabled": False,
            "commonConfig": {"replication_factor": 1},
            "storage": {"type": "filesystem"},
            "schemaConfig": {"configs": [schema]},
        },
        "singleBinary": {"replicas": 1, "persistence": {"size": "20Gi"}},
        **dict.fromkeys(("read", "write", "backend"), nothing),
        "chunksCache": {"enabled": False},
        "resultsCache": {"enabled": False},
        "lokiCanary": {"enabled": False},
        "test": {"enabled": False},
    }


def _render_dashboards(installations: tuple[Installation, ...], installation: Installation) -> str:
    boards = {
        path.rpartition("/")[2]: text for path, text in render_grafana(installations).items() if path.endswith(".json")
    }
    maps: list[dict[str, Json]] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": dns_name(f"dashboard-{installation.cluster.name}-{name.removesuffix('.json')}"),
                "namespace": _NAMESPACE,
                "labels": {_DASHBOARD: "1"},
            },
            "data": {name: text},
        }
        for name, text in boards.items()
    ]
    return write_manifests(installation, maps, "Grafana's chart reads dashboards from ConfigMaps with this label.")
