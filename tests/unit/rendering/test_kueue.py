"""Kueue's objects, by the field names of v1beta2 (Kueue's API reference): lightkube has no models of them."""

from __future__ import annotations

import yaml

from doubles.rendered_clusters import objects, rendered

IMAGE = "registry.local/it:1.0"
QUEUES = [{"name": "night"}]
FIELDS = {
    "ResourceFlavor": {"nodeLabels", "nodeTaints", "tolerations", "topologyName"},
    "ClusterQueue": {
        "cohortName", "namespaceSelector", "queueingStrategy", "resourceGroups", "preemption", "flavorFungibility",
        "fairSharing", "admissionChecksStrategy", "admissionScope", "stopPolicy",
    },
    "LocalQueue": {"clusterQueue", "fairSharing", "stopPolicy"},
}  # fmt: skip


def test_every_field_is_one_of_v1beta2() -> None:
    files = rendered("kueue", queues=QUEUES, services=[{"name": "job", "kind": "job", "image": IMAGE}])
    for one in yaml.safe_load_all(files["kueue/all/queues.yaml"]):
        assert one["apiVersion"] == "kueue.x-k8s.io/v1beta2"
        assert set(one.get("spec", {})) <= FIELDS.get(one["kind"], set())


def test_quota_is_what_the_pool_has_less_what_always_runs() -> None:
    services = [{"name": "voice", "gpus": 1, "image": IMAGE, "node": "one"}]
    queue = objects("ClusterQueue", "kueue", queues=QUEUES, services=services)["night"]
    resources = queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    assert {one["name"]: one["nominalQuota"] for one in resources}["nvidia.com/gpu"] == "1"
    assert queue["spec"]["resourceGroups"][0]["coveredResources"] == ["cpu", "memory", "nvidia.com/gpu"]


def test_claims_are_counted_by_the_class_that_pods_name() -> None:
    nodes = [{"name": "one", "gpus": [{"model": "RTX 5090"}, {"model": "RTX 4090"}]}]
    settings = yaml.safe_load(rendered("kueue", nodes=nodes, queues=QUEUES)["kueue/all/configuration.yaml"])
    mapping = {"name": "nvidia.com/gpu", "deviceClassNames": ["corral-gpu"]}
    assert settings["resources"]["deviceClassMappings"] == [mapping]
    assert settings["waitForPodsReady"] == {"timeout": "30m"}  # `enable` is gone in v1beta2
