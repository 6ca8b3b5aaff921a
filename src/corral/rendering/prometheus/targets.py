"""Targets of Prometheus, as far as the cluster file has them: nodes with addresses, GPU nodes, servers, queues.

What the file leaves open is not scraped, and a note reports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from corral.cluster.values import Node, ServiceKind
from corral.rendering.gpus import NvidiaGpu, list_nvidia_gpus
from corral.rendering.installation import Deployed, Installation

LOOPBACK = "127.0.0.1"
SERVER_PORT = 7433
TOKEN_FILE = "secrets/corral-token"
"""A path, relative to prometheus.yml; the token itself is in no file of ours."""
TARGETS_FILE = "targets/corral.yml"
PROMETHEUS = "prometheus"
KUEUE = "kueue"
"""Names by which a cluster file usually calls these services; there is no kind for them."""
_UUID = "GPU-"
MONITORING = "monitoring"
"""The namespace from which the rendered NetworkPolicies let metrics be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Everything that is watched."""

    installation: Installation
    """The first of the layouts, without a layout's name: what is watched is the same in all of them."""
    in_kubernetes: bool
    addresses: tuple[tuple[str, str], ...]
    """Node and address, where Prometheus needs them; empty in Kubernetes, which it asks itself."""
    gpu_nodes: tuple[Node, ...]
    """Nodes with a GPU that NVIDIA's exporter can read."""
    servers: tuple[Deployed, ...]
    """Corral's own server, where a layout deploys it."""
    has_kueue: bool
    namespace: str
    """Where Prometheus runs, in Kubernetes."""
    notes: tuple[str, ...]

    @property
    def is_one_machine(self) -> bool:
        """Whether everything is on the machine that reads the file."""
        return not self.in_kubernetes and len(self.installation.cluster.nodes) == 1


def find_targets(installations: tuple[Installation, ...]) -> Targets:
    """Find everything to watch."""
    installation = replace(installations[0], layout=None)
    cluster = installation.cluster
    services = {deployed.name: deployed for installation in installations for deployed in installation.deployed}
    targets = Targets(
        installation=installation,
        in_kubernetes=cluster.kubernetes is not None,
        addresses=(),
        gpu_nodes=tuple(node for node in cluster.nodes if list_nvidia_gpus(node)),
        servers=tuple(deployed for deployed in services.values() if deployed.service.kind is ServiceKind.CORRAL),
        has_kueue=cluster.kubernetes is not None and KUEUE in cluster.services,
        namespace=_find_namespace(services),
        notes=(),
    )
    addresses = () if targets.in_kubernetes else tuple(_list_addresses(targets))
    return replace(targets, addresses=addresses, notes=tuple(_list_notes(targets)))


def list_certain_gpus(node: Node) -> tuple[NvidiaGpu, ...]:
    """List the GPUs of a node that NVIDIA's exporter must see: a missing one is an alarm.

    A GPU without a model is NVIDIA's when it has a UUID as NVIDIA's driver gives it.
    """
    return tuple(gpu for gpu in list_nvidia_gpus(node) if gpu.model or (gpu.gpu.uuid or "").startswith(_UUID))


def _find_namespace(deployed: dict[str, Deployed]) -> str:
    own = next((server for server in deployed.values() if server.service.name == PROMETHEUS), None)
    return own.namespace if own else MONITORING


def _list_addresses(targets: Targets) -> Iterator[tuple[str, str]]:
    for node in targets.installation.cluster.nodes:
        address = node.address or (LOOPBACK if targets.is_one_machine else None)
        if address is not None:
            yield node.name, address


def _list_notes(targets: Targets) -> Iterator[str]:
    nodes = targets.installation.cluster.nodes
    unknown = [node.name for node in nodes if node.gpus is None]
    if unknown:
        yield f"The GPUs of {_join_names(unknown)} are not in the cluster file, and not watched: corral inventory"
    vague = [node.name for node in nodes if len(list_certain_gpus(node)) < len(list_nvidia_gpus(node))]
    if vague:
        yield f"GPUs of {_join_names(vague)} have neither a model nor a UUID: there is no alert when they are gone."
    other = [node.name for node in targets.installation.cluster.nodes if node.gpus and not list_nvidia_gpus(node)]
    if other:
        yield f"No GPU of {_join_names(other)} is NVIDIA's: no exporter is scraped for them."
    if targets.in_kubernetes:
        yield "Kubernetes lists the nodes and exporters: those with the labels that their own charts set."
        yield f"Prometheus runs in the namespace {targets.namespace}, as the ServiceAccount of access.yaml."
        yield "A machine outside of Kubernetes is not watched."
    elif not targets.is_one_machine:
        missing = [node.name for node in nodes if node.address is None]
        if missing:
            yield f"The cluster file has no address of {_join_names(missing)}, so nothing is scraped there."
    yield from _list_server_notes(targets)


def _list_server_notes(targets: Targets) -> Iterator[str]:
    if targets.is_one_machine and not targets.servers:
        return
    yield f"{TOKEN_FILE} holds the token that `corral tokens create prometheus --role viewer` prints."
    if not targets.servers:
        yield f"The cluster file does not say where Corral's server runs. Write it to {TARGETS_FILE}:"
        yield f'  - targets: ["ADDRESS:{SERVER_PORT}"]'


def _join_names(names: list[str]) -> str:
    return ", ".join(names)
