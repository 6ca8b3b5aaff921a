"""Scrape jobs: only those that the cluster file justifies, each with the label `node` in the file's own names.

In Kubernetes also what Prometheus can read there, and a kustomization that puts its files where it finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from corral.rendering.documents import document, manifests
from corral.rendering.installation import Deployed
from corral.rendering.kubernetes.objects import make_labels, name_workload
from corral.rendering.prometheus.targets import (
    LOOPBACK,
    MONITORING,
    PROMETHEUS,
    SERVER_PORT,
    TARGETS_FILE,
    TOKEN_FILE,
    Sight,
)

Json = dict[str, Any]  # Prometheus' own configuration, as plain values

CORRAL = "corral"
DCGM = "dcgm-exporter"
NODE = "node-exporter"
STATE = "kube-state-metrics"
KUBELET = "kubelet"
KUEUE = "kueue"
DCGM_PORT = 9400
NODE_PORT = 9100
_STATE_PORT = 8080
"""Ports on which each exporter listens, as its own documentation has them."""
_KUEUE_METRICS = "kueue-controller-manager-metrics-service.kueue-system.svc:8443"
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_POD_LABEL = "__meta_kubernetes_pod_label_app_kubernetes_io_name"


def list_jobs(sight: Sight) -> list[Json]:
    """Every job, in the order in which trouble is looked for: the server, the cards, the machines, Kubernetes."""
    found = [_corral(sight)]
    if sight.in_kubernetes:
        if sight.gpu_nodes:
            found.append(_pods(DCGM, DCGM_PORT, ("dcgm-exporter", "nvidia-dcgm-exporter")))
        found.append(_pods(NODE, NODE_PORT, ("node-exporter", "prometheus-node-exporter")))
        found += [_pods(STATE, _STATE_PORT, ("kube-state-metrics",)), _kubelet()]
        return [*found, _kueue()] if sight.has_kueue else found
    cards = {node.name for node in sight.gpu_nodes}
    with_cards = [(node, address) for node, address in sight.addresses if node in cards]
    if with_cards:
        found.append(_machines(DCGM, DCGM_PORT, with_cards))
    if sight.addresses:
        found.append(_machines(NODE, NODE_PORT, sight.addresses))
    return found


def _corral(sight: Sight) -> Json:
    """Corral's own metrics. From the same machine it asks for no token; from elsewhere a file holds it."""
    job: Json = {"job_name": CORRAL}
    if sight.is_one_machine and not sight.servers:
        return job | {"static_configs": [{"targets": [f"{LOOPBACK}:{SERVER_PORT}"]}]}
    job["authorization"] = {"credentials_file": TOKEN_FILE}
    if not sight.servers:
        return job | {"file_sd_configs": [{"files": [TARGETS_FILE]}]}
    if sight.in_kubernetes:
        return job | _server_pods(sight.servers)
    targets = [_server_address(sight, one) for one in sight.servers]
    return job | {"static_configs": [{"targets": targets}]}


def _server_pods(servers: Iterable[Deployed]) -> Json:
    """Each replica by itself: behind their common address only one of them would answer, and which one is chance."""
    first, *_ = servers
    return {
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": sorted({one.namespace for one in servers})}}],
        "relabel_configs": [
            _keep([_POD_LABEL], "|".join(sorted({name_workload(one) for one in servers}))),
            _keep(["__meta_kubernetes_pod_container_port_number"], str(first.port or SERVER_PORT)),
            _node_of_pod(),
        ],
    }


def _server_address(sight: Sight, one: Deployed) -> str:
    """By its name where Prometheus is deployed beside it, else by its node."""
    beside = sight.installation.of(PROMETHEUS) is not None
    node = dict(sight.addresses).get(one.node or "")
    host = one.name if beside or node is None else node
    return f"{host}:{one.port or SERVER_PORT}"


def _machines(name: str, port: int, addresses: Iterable[tuple[str, str]]) -> Json:
    targets = [{"targets": [f"{address}:{port}"], "labels": {"node": node}} for node, address in addresses]
    return {"job_name": name, "static_configs": targets}


def _pods(name: str, port: int, apps: Iterable[str]) -> Json:
    """Pods of an exporter by the label of its chart, or by `app`, which older ones and NVIDIA's operator set."""
    either = "|".join(apps)
    return {
        "job_name": name,
        "honor_labels": True,
        "kubernetes_sd_configs": [{"role": "pod"}],
        "relabel_configs": [
            _keep([_POD_LABEL, "__meta_kubernetes_pod_label_app"], f"({either});.*|.*;({either})"),
            _keep(["__meta_kubernetes_pod_container_port_number"], str(port)),
            _node_of_pod(),
        ],
    }


def _kubelet() -> Json:
    return {
        "job_name": KUBELET,
        "scheme": "https",
        "authorization": {"credentials_file": f"{_ACCOUNT}/token"},
        "tls_config": {"ca_file": f"{_ACCOUNT}/ca.crt"},
        "kubernetes_sd_configs": [{"role": "node"}],
        "relabel_configs": [{"source_labels": ["__meta_kubernetes_node_name"], "target_label": "node"}],
    }


def _kueue() -> Json:
    """Kueue serves its metrics with a certificate that it makes for itself (Kueue's documentation, metrics)."""
    return {
        "job_name": KUEUE,
        "scheme": "https",
        "authorization": {"credentials_file": f"{_ACCOUNT}/token"},
        "tls_config": {"insecure_skip_verify": True},
        "static_configs": [{"targets": [_KUEUE_METRICS]}],
    }


def _keep(labels: list[str], regex: str) -> Json:
    return {"source_labels": labels, "regex": regex, "action": "keep"}


def _node_of_pod() -> Json:
    return {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node"}


NAME = "corral-prometheus"
_COUNTERS = "dcgm-counters"
_READ = ["get", "list", "watch"]
_API = "rbac.authorization.k8s.io"


def render_access(sight: Sight, paths: Iterable[str]) -> Mapping[str, str]:
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
