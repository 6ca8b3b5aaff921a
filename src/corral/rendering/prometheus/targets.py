"""Targets of Prometheus, as far as the cluster file has them: nodes with addresses, GPU nodes, servers, queues.

What the file leaves open is not scraped, and a note reports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from corral.cluster.values import Node, ServiceKind
from corral.rendering.gpus import Card, nvidia_cards
from corral.rendering.installation import Deployed, Installation

LOOPBACK = "127.0.0.1"
SERVER_PORT = 7433
TOKEN_FILE = "secrets/corral-token"
"""A path, relative to prometheus.yml; the token itself stands in no file of ours."""
TARGETS_FILE = "targets/corral.yml"
PROMETHEUS = "prometheus"
KUEUE = "kueue"
"""Names by which a cluster file usually calls these services; there is no kind for them."""
_UUID = "GPU-"
MONITORING = "monitoring"
"""The namespace from which the rendered NetworkPolicies let metrics be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Everything that is watched."""

    installation: Installation
    """The first of the layouts, without a layout's name: what is watched is the same in all of them."""
    in_kubernetes: bool
    addresses: tuple[tuple[str, str], ...]
    """Node and address, where Prometheus has to be told them; empty in Kubernetes, which it asks itself."""
    gpu_nodes: tuple[Node, ...]
    """Nodes that have a card which NVIDIA's exporter can read."""
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


def sight_of(installations: tuple[Installation, ...]) -> Sight:
    """Gather what is to be watched."""
    one = replace(installations[0], layout=None)
    cluster = one.cluster
    deployed = {each.name: each for installation in installations for each in installation.deployed}
    found = Sight(
        installation=one,
        in_kubernetes=cluster.kubernetes is not None,
        addresses=(),
        gpu_nodes=tuple(node for node in cluster.nodes if nvidia_cards(node)),
        servers=tuple(each for each in deployed.values() if each.service.kind is ServiceKind.CORRAL),
        has_kueue=cluster.kubernetes is not None and KUEUE in cluster.services,
        namespace=_namespace(deployed),
        notes=(),
    )
    addresses = () if found.in_kubernetes else tuple(_addresses(found))
    return replace(found, addresses=addresses, notes=tuple(_notes(found)))


def certain_cards(node: Node) -> tuple[Card, ...]:
    """The cards of a node that NVIDIA's exporter has to see: a missing one is an alarm.

    A card without a model is NVIDIA's when it has a UUID as NVIDIA's driver gives it.
    """
    return tuple(card for card in nvidia_cards(node) if card.model or (card.gpu.uuid or "").startswith(_UUID))


def _namespace(deployed: dict[str, Deployed]) -> str:
    own = next((one for one in deployed.values() if one.service.name == PROMETHEUS), None)
    return own.namespace if own else MONITORING


def _addresses(sight: Sight) -> Iterator[tuple[str, str]]:
    for node in sight.installation.cluster.nodes:
        address = node.address or (LOOPBACK if sight.is_one_machine else None)
        if address is not None:
            yield node.name, address


def _notes(sight: Sight) -> Iterator[str]:
    nodes = sight.installation.cluster.nodes
    unknown = [node.name for node in nodes if node.gpus is None]
    if unknown:
        yield f"Which GPUs {_list(unknown)} has is not in the cluster file, so they are not watched: corral inventory"
    vague = [node.name for node in nodes if len(certain_cards(node)) < len(nvidia_cards(node))]
    if vague:
        yield f"Cards of {_list(vague)} have neither a model nor a UUID: nobody misses them when they are gone."
    other = [node.name for node in sight.installation.cluster.nodes if node.gpus and not nvidia_cards(node)]
    if other:
        yield f"No card of {_list(other)} is NVIDIA's: no exporter is scraped for them."
    if sight.in_kubernetes:
        yield "Kubernetes tells which nodes and exporters there are: those with the labels that their own charts set."
        yield f"Prometheus runs in the namespace {sight.namespace}, as the ServiceAccount of access.yaml."
        yield "A machine outside of Kubernetes is not watched."
    elif not sight.is_one_machine:
        missing = [node.name for node in nodes if node.address is None]
        if missing:
            yield f"The cluster file has no address of {_list(missing)}, so nothing is scraped there."
    yield from _server_notes(sight)


def _server_notes(sight: Sight) -> Iterator[str]:
    if sight.is_one_machine and not sight.servers:
        return
    yield f"{TOKEN_FILE} holds the token that `corral tokens create prometheus --role viewer` prints."
    if not sight.servers:
        yield f"The cluster file does not say where Corral's server runs. Write it to {TARGETS_FILE}:"
        yield f'  - targets: ["ADDRESS:{SERVER_PORT}"]'


def _list(names: list[str]) -> str:
    return ", ".join(names)
