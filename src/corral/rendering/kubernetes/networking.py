"""Addresses inside and outside of the cluster, and who may connect to whom.

Policies name who may connect to a pod; what a pod may connect to is left open, since models, packages and providers lie
anywhere, and name resolution has to work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.networking_v1 import (
    HTTPIngressPath,
    HTTPIngressRuleValue,
    IngressBackend,
    IngressRule,
    IngressServiceBackend,
    IngressSpec,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    NetworkPolicySpec,
    ServiceBackendPort,
)
from lightkube.resources.core_v1 import Service
from lightkube.resources.networking_v1 import Ingress, NetworkPolicy

from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes.naming import labels_of, selector_of, workload_name
from corral.rendering.kubernetes.workloads import headless_name, is_stateful
from corral.rendering.names import dns_name, with_suffix

_POD = "statefulset.kubernetes.io/pod-name"
_TYPES = {"loadBalancer": "LoadBalancer", "nodePort": "NodePort"}
_NODE_PORTS = range(30_000, 32_768)
"""Ports of nodes that Kubernetes gives to Services unless its API server is told otherwise."""
_LONGEST_PORT_NAME = 15
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
TRAEFIK_PORTS = (80, 443)
"""Where Traefik, which comes with K3s, listens on every node."""
_OWN = "own-namespace"
_MONITORING = "monitoring"
"""The namespace from which metrics are read."""


def services(installation: Installation, members: Sequence[Deployed]) -> list[Service]:
    """Every address of a workload: one by its name, one for each replica that keeps state, and those outside."""
    found: list[Service] = []
    if is_stateful(members):
        found.append(_headless(installation, members))
    for one in members:
        if one.port is not None:
            found += _inside(installation, one)
            found += _outside(installation, one)
    return found


def ingresses(installation: Installation, members: Sequence[Deployed]) -> list[Ingress]:
    """Ingresses of services that the file exposes so."""
    return [_ingress(installation, one) for one in members if is_ingress(one) and one.port and not is_split(one)]


def is_ingress(one: Deployed) -> bool:
    """Tell whether people reach a service by an Ingress."""
    return one.service.exposed is not None and one.service.exposed.kind == "ingress"


def is_split(one: Deployed) -> bool:
    """Tell whether each replica has an address of its own, and none stands for all."""
    return one.has_addresses_of_replicas


def node_port(one: Deployed, replica: int = 0) -> int | None:
    """The port of the nodes that a service asks for; None lets Kubernetes choose one."""
    exposed = one.service.exposed
    if exposed is None or exposed.kind != "nodePort" or exposed.port + replica not in _NODE_PORTS:
        return None
    return exposed.port + replica


def policies(installation: Installation, members: Sequence[Deployed]) -> list[NetworkPolicy]:
    """Who may connect to a workload: its own namespace, those that call it, monitoring; all only if it is exposed."""
    first = members[0]
    ports = sorted({one.port for one in members if one.port is not None})
    if not ports:
        return []
    name = workload_name(first)
    allowed = [NetworkPolicyPort(protocol="TCP", port=port) for port in ports]
    others = sorted({_MONITORING, *_callers(installation, members)} - {first.namespace})
    inside = [
        NetworkPolicyPeer(podSelector=LabelSelector()),
        *(
            NetworkPolicyPeer(namespaceSelector=LabelSelector(matchLabels={_NAMESPACE_NAME: namespace}))
            for namespace in others
        ),
    ]
    rules = [NetworkPolicyIngressRule(from_=inside, ports=allowed)]
    open_to_all = sorted({one.port for one in members if one.service.exposed and one.port})
    if open_to_all:
        exposed = [NetworkPolicyPort(protocol="TCP", port=port) for port in open_to_all]
        rules.append(NetworkPolicyIngressRule(ports=exposed))
    return [
        NetworkPolicy(
            metadata=ObjectMeta(name=name, namespace=first.namespace, labels=labels_of(installation, name)),
            spec=NetworkPolicySpec(
                podSelector=LabelSelector(matchLabels=selector_of(installation, name)),
                policyTypes=["Ingress"],
                ingress=rules,
            ),
        )
    ]


def _callers(installation: Installation, members: Sequence[Deployed]) -> set[str]:
    """Namespaces of the services that call one of these."""
    names = {one.service.name for one in members}
    return {one.namespace for one in installation.deployed if names & set(one.service.calls)}


def own_namespace(installation: Installation, namespaces: Iterable[str]) -> list[NetworkPolicy]:
    """Let pods of a namespace connect to each other, and nobody else to a pod that no other policy names.

    Databases and dashboards that others deployed there keep working among themselves.
    """
    neighbours = NetworkPolicyIngressRule(from_=[NetworkPolicyPeer(podSelector=LabelSelector())])
    return [
        NetworkPolicy(
            metadata=ObjectMeta(name=_OWN, namespace=namespace, labels=labels_of(installation, _OWN)),
            spec=NetworkPolicySpec(podSelector=LabelSelector(), policyTypes=["Ingress"], ingress=[neighbours]),
        )
        for namespace in namespaces
    ]


def _headless(installation: Installation, members: Sequence[Deployed]) -> Service:
    name = headless_name(members)
    return Service(
        metadata=ObjectMeta(name=name, namespace=members[0].namespace, labels=labels_of(installation, name)),
        spec=ServiceSpec(
            clusterIP="None",
            publishNotReadyAddresses=True,
            selector=selector_of(installation, workload_name(members[0])),
            ports=[ServicePort(name=port_name(one), port=one.port) for one in members if one.port] or None,
        ),
    )


def port_name(one: Deployed) -> str:
    """The name of a service's port where several stand together: of 15 characters at most (RFC 6335)."""
    return dns_name(one.service.name, longest=_LONGEST_PORT_NAME)


def _inside(installation: Installation, one: Deployed) -> Iterator[Service]:
    """An address by the service's name; with several replicas that keep state, one for each instead."""
    if not is_split(one):
        yield _service(
            installation, one, one.name, selector_of(installation, workload_name(one)), "ClusterIP", one.port
        )
        return
    for replica in range(one.replicas):
        name = with_suffix(one.name, str(replica))
        yield _service(installation, one, name, _replica(one, replica), "ClusterIP", one.port)


def _outside(installation: Installation, one: Deployed) -> Iterator[Service]:
    """Addresses for people; replicas that keep state have a port each, since K3s gives a port to one Service only."""
    exposed = one.service.exposed
    if exposed is None or exposed.kind not in _TYPES:
        return
    name = outside_name(one)
    kind = _TYPES[exposed.kind]
    if not is_split(one):
        selector = selector_of(installation, workload_name(one))
        yield _service(installation, one, name, selector, kind, exposed.port, node_port(one))
        return
    for replica in range(one.replicas):
        each = with_suffix(name, str(replica))
        port = exposed.port + replica
        yield _service(installation, one, each, _replica(one, replica), kind, port, node_port(one, replica))


def outside_name(one: Deployed) -> str:
    """The name of the Service or Ingress for people: as the file says, else one beside that of the service."""
    said = one.service.exposed.name if one.service.exposed else None
    own = with_suffix(one.name, "outside")
    return own if said is None or dns_name(said) == one.name else dns_name(said)


def _service(
    installation: Installation,
    one: Deployed,
    name: str,
    selector: dict[str, str],
    kind: str,
    port: int | None,
    on_nodes: int | None = None,
) -> Service:
    ports = [ServicePort(name="http", port=port or 0, targetPort=one.port, nodePort=on_nodes)]
    return Service(
        metadata=ObjectMeta(name=name, namespace=one.namespace, labels=labels_of(installation, name)),
        spec=ServiceSpec(type=kind, selector=selector, ports=ports),
    )


def _replica(one: Deployed, replica: int) -> dict[str, str]:
    return {_POD: f"{workload_name(one)}-{replica}"}


def _ingress(installation: Installation, one: Deployed) -> Ingress:
    name = outside_name(one)
    backend = IngressBackend(service=IngressServiceBackend(name=one.name, port=ServiceBackendPort(name="http")))
    path = HTTPIngressPath(path="/", pathType="Prefix", backend=backend)
    return Ingress(
        metadata=ObjectMeta(name=name, namespace=one.namespace, labels=labels_of(installation, name)),
        spec=IngressSpec(rules=[IngressRule(http=HTTPIngressRuleValue(paths=[path]))]),
    )
