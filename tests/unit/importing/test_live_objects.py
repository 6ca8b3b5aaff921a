"""Objects of a live cluster: they are imported as the manifests that they were made of."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from corral.importing.live import write_objects
from corral.kubernetes import Kubectl, KubernetesError, Ran
from corral.operations.importing import ImportOptionError, ImportRequest, import_cluster, list_objects, read_gpu_options
from doubles.imports import CASES, differences_of, import_case

ADDED: dict[str, Any] = {
    "uid": "5f0c", "resourceVersion": "812", "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z",
    "managedFields": [{"manager": "kubectl"}],
    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "deployment.kubernetes.io/revision": "3"},
}  # fmt: skip
POD_DEFAULTS: dict[str, Any] = {
    "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
    "securityContext": {}, "terminationGracePeriodSeconds": 30,
}  # fmt: skip
CONTAINER_DEFAULTS: dict[str, Any] = {
    "imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}  # fmt: skip


def as_served(item: dict[str, Any]) -> dict[str, Any]:
    """An object of a manifest as an API server answers it: what 1.36 adds to a Deployment, a Service and a claim."""
    served = json.loads(json.dumps(item))
    served["metadata"] |= ADDED
    if served["kind"] == "Deployment":
        served["spec"] |= {"progressDeadlineSeconds": 600, "revisionHistoryLimit": 10}
        served["status"] = {"replicas": 1, "readyReplicas": 1}
        pod = served["spec"]["template"]["spec"]
        pod |= POD_DEFAULTS
        for container in pod["containers"]:
            container |= CONTAINER_DEFAULTS
            for port in container.get("ports", []):
                port["protocol"] = "TCP"
            if "readinessProbe" in container:
                container["readinessProbe"] |= {"failureThreshold": 3, "successThreshold": 1, "timeoutSeconds": 1}
                container["readinessProbe"]["httpGet"]["scheme"] = "HTTP"
    if served["kind"] == "Service":
        addresses = {"clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"], "ipFamilies": ["IPv4"]}
        served["spec"] |= {**addresses, "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster"}
        served["spec"] |= {"sessionAffinity": "None", "externalTrafficPolicy": "Cluster"}
        served["spec"]["ports"][0]["protocol"] = "TCP"
    if served["kind"] == "PersistentVolumeClaim":
        served["spec"] |= {"volumeName": "ollama-disk", "volumeMode": "Filesystem"}
        served["status"] = {"phase": "Bound"}
    return served


OBJECTS = list(yaml.safe_load_all((CASES / "pods" / "edge.yaml").read_text(encoding="utf-8")))
OF_KUBERNETES: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": "ai-agents"}},
    {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "coredns", "namespace": "kube-system"}},
    {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "night-1", "namespace": "ai-agents", "ownerReferences": [{"kind": "CronJob"}]},
    },
]


class Server:
    """Stands for kubectl: answers `get` with lists, as `kubectl get -o json` prints them, and refuses unknown kinds."""

    def __init__(self, objects: list[dict[str, Any]]) -> None:
        self._objects = objects

    def run(self, argv: tuple[str, ...], *, deadline_s: float) -> Ran:
        if argv[2] == "resourceclaimtemplates":
            return Ran(exit_code=1, out="", errors='error: the server doesn\'t have a resource type "resourceclaim..."')
        answer = {"apiVersion": "v1", "kind": "List", "items": self._objects}
        return Ran(exit_code=0, out=json.dumps(answer), errors="")


def test_a_live_cluster_is_imported_as_the_manifests_that_made_it() -> None:
    served = [as_served(item) for item in OBJECTS]

    answer = import_cluster(ImportRequest(name="test"), Kubectl(Server([*served, *OF_KUBERNETES])))

    written = import_case("pods")
    assert answer.text == written.text
    assert sorted(gap.what for gap in answer.gaps) == sorted(gap.what for gap in written.gaps)
    assert differences_of(answer) == []


def test_objects_of_kubernetes_and_those_that_others_own_are_left_out() -> None:
    assert list(write_objects(OF_KUBERNETES)) == []


def test_the_place_of_a_gap_is_the_object() -> None:
    answer = import_cluster(ImportRequest(), Kubectl(Server(OBJECTS)))

    assert {gap.place.file for gap in answer.gaps} == {
        "DaemonSet/ai-agents/watcher.yaml",
        "Deployment/ai-agents/merged-ollama-backend.yaml",
    }


def test_a_server_that_does_not_answer_is_an_error_and_one_without_claims_is_not() -> None:
    class Silent:
        def run(self, argv: tuple[str, ...], *, deadline_s: float) -> Ran:
            return Ran(exit_code=1, out="", errors="The connection to the server was refused")

    assert len(list_objects(Kubectl(Server(OBJECTS)))) == len(OBJECTS)
    with pytest.raises(KubernetesError, match="refused"):
        list_objects(Kubectl(Silent()))


def test_gpu_options_are_read_with_the_catalogue_s_names_and_all_problems_at_once() -> None:
    assert read_gpu_options(["a=rtx 4090,RTX 5070 Ti"]) == {"a": ("RTX 4090", "RTX 5070 Ti")}
    with pytest.raises(ImportOptionError) as caught:
        read_gpu_options(["a", "b=RTX 9999"])
    assert [problem.where for problem in caught.value.problems] == [None, "--gpu b=RTX 9999"]
