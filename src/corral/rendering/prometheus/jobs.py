"""Scrape jobs: only those that the cluster file justifies, each with the label `node` in the file's own names.

In Kubernetes also what Prometheus can read there, and a kustomization that puts its files where it finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from corral.rendering.documents import write_document, write_manifests
from corral.rendering.installation import Deployed
from corral.rendering.kubernetes.objects import make_labels, name_workload
from corral.rendering.prometheus.targets import (
    LOOPBACK,
    MONITORING,
    PROMETHEUS,
    SERVER_PORT,
    TARGETS_FILE,
    TOKEN_FILE,
    Targets,
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


def list_jobs(targets: Targets) -> list[Json]:
    """List every job, in the order in which trouble is looked for: the server, the GPUs, the machines, Kubernetes."""
    jobs = [_make_corral_job(targets)]
    if targets.in_kubernetes:
        if targets.gpu_nodes:
            jobs.append(_make_pod_job(DCGM, DCGM_PORT, ("dcgm-exporter", "nvidia-dcgm-exporter")))
        jobs.append(_make_pod_job(NODE, NODE_PORT, ("node-exporter", "prometheus-node-exporter")))
        jobs += [_make_pod_job(STATE, _STATE_PORT, ("kube-state-metrics",)), _make_kubelet_job()]
        return [*jobs, _make_kueue_job()] if targets.has_kueue else jobs
    gpu_nodes = {node.name for node in targets.gpu_nodes}
    gpu_machines = [(node, address) for node, address in targets.addresses if node in gpu_nodes]
    if gpu_machines:
        jobs.append(_make_machine_job(DCGM, DCGM_PORT, gpu_machines))
    if targets.addresses:
        jobs.append(_make_machine_job(NODE, NODE_PORT, targets.addresses))
    return jobs


def _make_corral_job(targets: Targets) -> Json:
    """Make the job of Corral's own metrics. On the same machine it asks for no token; from elsewhere a file has it."""
    job: Json = {"job_name": CORRAL}
    if targets.is_one_machine and not targets.servers:
        return job | {"static_configs": [{"targets": [f"{LOOPBACK}:{SERVER_PORT}"]}]}
    job["authorization"] = {"credentials_file": TOKEN_FILE}
    if not targets.servers:
        return job | {"file_sd_configs": [{"files": [TARGETS_FILE]}]}
    if targets.in_kubernetes:
        return job | _discover_server_pods(targets.servers)
    addresses = [_find_server_address(targets, server) for server in targets.servers]
    return job | {"static_configs": [{"targets": addresses}]}


def _discover_server_pods(servers: Iterable[Deployed]) -> Json:
    """Each replica by itself: behind their common address only one of them would answer, and which one is chance."""
    first, *_ = servers
    return {
        "kubernetes_sd_configs": [
            {"role": "pod", "namespaces": {"names": sorted({server.namespace for server in servers})}}
        ],
        "relabel_configs": [
            _keep([_POD_LABEL], "|".join(sorted({name_workload(server) for server in servers}))),
            _keep(["__meta_kubernetes_pod_container_port_number"], str(first.port or SERVER_PORT)),
            _label_node(),
        ],
    }


def _find_server_address(targets: Targets, server: Deployed) -> str:
    """Find a server by its name where Prometheus is deployed next to it, else by its node."""
    beside = targets.installation.find_service(PROMETHEUS) is not None
    node = dict(targets.addresses).get(server.node or "")
    host = server.name if beside or node is None else node
    return f"{host}:{server.port or SERVER_PORT}"


def _make_machine_job(name: str, port: int, addresses: Iterable[tuple[str, str]]) -> Json:
    targets = [{"targets": [f"{address}:{port}"], "labels": {"node": node}} for node, address in addresses]
    return {"job_name": name, "static_configs": targets}


def _make_pod_job(name: str, port: int, apps: Iterable[str]) -> Json:
    """Pods of an exporter by the label of its chart, or by `app`, which older ones and NVIDIA's operator set."""
    either = "|".join(apps)
    return {
        "job_name": name,
        "honor_labels": True,
        "kubernetes_sd_configs": [{"role": "pod"}],
        "relabel_configs": [
            _keep([_POD_LABEL, "__meta_kubernetes_pod_label_app"], f"({either});.*|.*;({either})"),
            _keep(["__meta_kubernetes_pod_container_port_number"], str(port)),
            _label_node(),
        ],
    }


def _make_kubelet_job() -> Json:
    return {
        "job_name": KUBELET,
        "scheme": "https",
        "authorization": {"credentials_file": f"{_ACCOUNT}/token"},
        "tls_config": {"ca_file": f"{_ACCOUNT}/ca.crt"},
        "kubernetes_sd_configs": [{"role": "node"}],
        "relabel_configs": [{"source_labels": ["__meta_kubernetes_node_name"], "target_label": "node"}],
    }


def _make_kueue_job() -> Json:
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


def _label_node() -> Json:
    return {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node"}


NAME = "corral-prometheus"
_COUNTERS = "dcgm-counters"
_READ = ["get", "list", "watch"]
_API = "rbac.authorization.k8s.io"


def render_access(targets: Targets, paths: Iterable[str]) -> Mapping[str, str]:
    """Render the account with its rights, and a ConfigMap for each folder of files."""
    installation = targets.installation
    is_guarded = targets.namespace in {
        installation.namespace,
        *(deployed.namespace for deployed in installation.deployed),
    }
    resources: Json = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": targets.namespace,
        "resources": ["access.yaml"],
        "configMapGenerator": _list_config_maps(paths, with_counters=not is_guarded),
        "generatorOptions": {"disableNameSuffixHash": True, "labels": make_labels(installation, PROMETHEUS)},
    }
    notes = (
        f"kubectl apply --kustomize prometheus, where the namespace {targets.namespace} is there.",
        f"Prometheus mounts {NAME} at /etc/prometheus and {NAME}-rules at /etc/prometheus/rules (folders, no subPath:",
        "then changes arrive without a restart), and runs as the ServiceAccount.",
        *_list_exporter_notes(targets, is_guarded=is_guarded),
    )
    return {
        "prometheus/access.yaml": write_manifests(installation, _list_access_objects(targets)),
        "prometheus/kustomization.yaml": write_document(installation, resources, *notes),
    }


def _list_exporter_notes(targets: Targets, *, is_guarded: bool) -> tuple[str, ...]:
    """List where exporters run: they read their host, which the namespaces of services do not allow (pitfall G06)."""
    if not is_guarded:
        return (f"The exporter of GPUs mounts {_COUNTERS}.",) if targets.gpu_nodes else ()
    notes = [
        f"Exporters of GPUs and nodes look into their host, which the namespace {targets.namespace} refuses "
        f"(baseline): install them in another one, such as {MONITORING}."
    ]
    if targets.gpu_nodes:
        notes.append(
            f"There the exporter of GPUs mounts {_COUNTERS}: kubectl create configmap {_COUNTERS} "
            f"--namespace {MONITORING} --from-file=prometheus/dcgm-counters.csv"
        )
    return tuple(notes)


def _list_config_maps(paths: Iterable[str], *, with_counters: bool) -> list[Json]:
    inside = [path.removeprefix("prometheus/") for path in paths]
    names = {
        NAME: [path for path in inside if path == "prometheus.yml"],
        f"{NAME}-rules": [path for path in inside if path.startswith("rules/")],
        _COUNTERS: [path for path in inside if path.endswith(".csv") and with_counters],
    }
    return [{"name": name, "files": files} for name, files in names.items() if files]


def _list_access_objects(targets: Targets) -> list[Json]:
    labels = make_labels(targets.installation, PROMETHEUS)
    named: Json = {"name": NAME, "labels": labels}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**named, "namespace": targets.namespace}},
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
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": targets.namespace}],
        },
    ]
