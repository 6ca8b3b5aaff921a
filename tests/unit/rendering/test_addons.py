"""Charts that K3s installs: which there are, that all are pinned, and that no file has a password."""

from __future__ import annotations

import pytest
import yaml

from doubles.rendered_clusters import Json, rendered

K3S: Json = {"distribution": "k3s"}
NODES: list[Json] = [{"name": "one", "k3sRole": "server", "gpus": [{"model": "RTX 4090"}]}]


def charts(**parts: object) -> dict[str, Json]:
    """The HelmChart objects, by name."""
    files = rendered("addons", **{"nodes": NODES, "kubernetes": K3S, **parts})
    documents = [document for text in files.values() for document in yaml.safe_load_all(text)]
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == "HelmChart"}


@pytest.mark.parametrize(
    ("mode", "gpu_chart"), [("devicePlugin", "nvidia-device-plugin"), ("dra", "dra-driver-nvidia-gpu")]
)
def test_every_chart_is_pinned_and_gpus_come_from_one_of_two(mode: str, gpu_chart: str) -> None:
    by_name = charts(kubernetes=K3S | {"gpuMode": mode})
    monitoring = {"dcgm-exporter", "node-exporter", "kube-state-metrics", "prometheus", "grafana", "loki"}
    assert by_name.keys() == {"kueue", gpu_chart, *monitoring}
    for chart in by_name.values():
        assert chart["apiVersion"] == "helm.cattle.io/v1"
        assert chart["spec"]["version"][0].isdigit()
        assert chart["spec"]["chart"].startswith("oci://") or chart["spec"]["repo"].startswith("https://")


def test_a_cluster_without_gpus_gets_no_chart_for_them_and_other_kubernetes_gets_none_at_all() -> None:
    without: list[Json] = [{"name": "one", "k3sRole": "server", "gpus": []}]
    assert charts(nodes=without).keys().isdisjoint({"kueue", "nvidia-device-plugin", "dcgm-exporter"})
    assert rendered("addons", nodes=NODES, kubernetes={}) == {}


def test_prometheus_reads_the_rendered_rules_and_grafana_its_password_from_a_secret() -> None:
    by_name = charts()
    values = yaml.safe_load(by_name["prometheus"]["spec"]["valuesContent"])
    settings = values["serverFiles"]["prometheus.yml"]
    for path in settings["rule_files"]:
        assert values["serverFiles"][path.removeprefix("/etc/config/")]["groups"]
    admin = yaml.safe_load(by_name["grafana"]["spec"]["valuesContent"])["admin"]
    assert admin["existingSecret"] == "grafana-admin"
    assert all("password:" not in chart["spec"].get("valuesContent", "") for chart in by_name.values())
