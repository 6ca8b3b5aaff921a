"""What Prometheus may read in Kubernetes, and a kustomization that puts its files where it finds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from corral.rendering.documents import document, manifests
from corral.rendering.kubernetes.objects import make_labels
from corral.rendering.prometheus.sights import MONITORING, PROMETHEUS, Sight

Json = dict[str, Any]  # Kubernetes objects as plain values

NAME = "corral-prometheus"
_COUNTERS = "dcgm-counters"
_READ = ["get", "list", "watch"]
_API = "rbac.authorization.k8s.io"


def files(sight: Sight, paths: Iterable[str]) -> Mapping[str, str]:
    """The account with its rights, and a ConfigMap for each folder of files."""
    one = sight.installation
    is_guarded = sight.namespace in {one.namespace, *(each.namespace for each in one.deployed)}
    resources: Json = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": sight.namespace,
        "resources": ["access.yaml"],
        "configMapGenerator": _config_maps(paths, with_counters=not is_guarded),
        "generatorOptions": {"disableNameSuffixHash": True, "labels": make_labels(one, PROMETHEUS)},
    }
    notes = (
        f"kubectl apply --kustomize prometheus, where the namespace {sight.namespace} is there.",
        f"Prometheus mounts {NAME} at /etc/prometheus and {NAME}-rules at /etc/prometheus/rules (folders, no subPath:",
        "then changes arrive without a restart), and runs as the ServiceAccount.",
        *_exporter_notes(sight, is_guarded=is_guarded),
    )
    return {
        "prometheus/access.yaml": manifests(one, _access(sight)),
        "prometheus/kustomization.yaml": document(one, resources, *notes),
    }


def _exporter_notes(sight: Sight, *, is_guarded: bool) -> tuple[str, ...]:
    """Where exporters run: they look into their host, which the namespaces of services do not allow (pitfall G06)."""
    if not is_guarded:
        return (f"The exporter of cards mounts {_COUNTERS}.",) if sight.gpu_nodes else ()
    notes = [
        f"Exporters of cards and nodes look into their host, which the namespace {sight.namespace} refuses (baseline): "
        f"install them in another one, such as {MONITORING}."
    ]
    if sight.gpu_nodes:
        notes.append(
            f"There the exporter of cards mounts {_COUNTERS}: kubectl create configmap {_COUNTERS} "
            f"--namespace {MONITORING} --from-file=prometheus/dcgm-counters.csv"
        )
    return tuple(notes)


def _config_maps(paths: Iterable[str], *, with_counters: bool) -> list[Json]:
    inside = [path.removeprefix("prometheus/") for path in paths]
    names = {
        NAME: [path for path in inside if path == "prometheus.yml"],
        f"{NAME}-rules": [path for path in inside if path.startswith("rules/")],
        _COUNTERS: [path for path in inside if path.endswith(".csv") and with_counters],
    }
    return [{"name": name, "files": found} for name, found in names.items() if found]


def _access(sight: Sight) -> list[Json]:
    labels = make_labels(sight.installation, PROMETHEUS)
    named: Json = {"name": NAME, "labels": labels}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**named, "namespace": sight.namespace}},
        {
            "apiVersion": f"{_API}/v1",
            "kind": "ClusterRole",
            "metadata": named,
            "rules": [
                {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": _READ},
                {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
                {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
            ],
        },
        {
            "apiVersion": f"{_API}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": named,
            "roleRef": {"apiGroup": _API, "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": sight.namespace}],
        },
    ]
