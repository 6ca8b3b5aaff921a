"""Addresses inside and outside of the cluster, and who may connect to whom."""

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

_POD = "statefulset.kubernetes.io/pod-name"
_TYPES = {"loadBalancer": "LoadBalancer", "nodePort": "NodePort"}
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
_MONITORING = "monitoring"
"""The namespace from which metrics are read."""


def services(installation: Installation, members: Sequence[Deployed]) -> list[Service]:
    """Every address of a workload: one by its name, one for each replica that keeps state, and those outside."""
    found: list[Service] = []
    if is_stateful(members):
        found.append(_headless(installation, members))
    for one in members:
        if one.port is not None:
            found += _inside(installation, one, members)
            found += _outside(installation, one, members)
    return found


def ingresses(installation: Installation, members: Sequence[Deployed]) -> list[Ingress]:
    """Ingresses of services that the file exposes so."""
    return [
        _ingress(installation, one) for one in members if one.service.exposed and one.service.exposed.kind == "ingress"
    ]


def policies(installation: Installation, members: Sequence[Deployed]) -> list[NetworkPolicy]:
    """Who may connect to a workload: its own namespace and monitoring; everyone only where the file exposes it."""
    first = members[0]
    ports = sorted({one.port for one in members if one.port is not None})
    if not ports:
        return []
    name = workload_name(first)
    allowed = [NetworkPolicyPort(protocol="TCP", port=port) for port in ports]
    inside = [
        NetworkPolicyPeer(podSelector=LabelSelector()),
        NetworkPolicyPeer(namespaceSelector=LabelSelector(matchLabels={_NAMESPACE_NAME: _MONITORING})),
    ]
    rules = [NetworkPolicyIngressRule(from_=inside, ports=allowed)]
    exposed = [NetworkPolicyPort(protocol="TCP", port=one.port) for one in members if one.service.exposed and one.port]
    if exposed:
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


def default_deny(installation: Installation, namespaces: Iterable[str]) -> list[NetworkPolicy]:
    """Nothing may connect to a pod that no policy names."""
    return [
        NetworkPolicy(
            metadata=ObjectMeta(
                name="default-deny", namespace=namespace, labels=labels_of(installation, "default-deny")
            ),
            spec=NetworkPolicySpec(podSelector=LabelSelector(), policyTypes=["Ingress"]),
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
            ports=[ServicePort(name=one.service.name[:15], port=one.port) for one in members if one.port] or None,
        ),
    )


def _inside(installation: Installation, one: Deployed, members: Sequence[Deployed]) -> Iterator[Service]:
    """An address by the service's name; with several replicas that keep state, one for each instead."""
    if not is_stateful(members) or one.replicas < 2:
        yield _service(
            installation, one, one.name, selector_of(installation, workload_name(one)), "ClusterIP", one.port
        )
        return
    for replica in range(one.replicas):
        yield _service(installation, one, f"{one.name}-{replica}", _replica(one, replica), "ClusterIP", one.port)


def _outside(installation: Installation, one: Deployed, members: Sequence[Deployed]) -> Iterator[Service]:
    """Addresses for people; replicas that keep state have a port each, since K3s gives a port to one Service only."""
    exposed = one.service.exposed
    if exposed is None or exposed.kind not in _TYPES:
        return
    name = exposed.name or f"{one.name}-outside"
    if not is_stateful(members) or one.replicas < 2:
        selector = selector_of(installation, workload_name(one))
        yield _service(installation, one, name, selector, _TYPES[exposed.kind], exposed.port)
        return
    for replica in range(one.replicas):
        yield _service(
            installation, one, f"{name}-{replica}", _replica(one, replica), _TYPES[exposed.kind], exposed.port + replica
        )


def _service(
    installation: Installation, one: Deployed, name: str, selector: dict[str, str], kind: str, port: int | None
) -> Service:
    return Service(
        metadata=ObjectMeta(name=name, namespace=one.namespace, labels=labels_of(installation, name)),
        spec=ServiceSpec(
            type=kind, selector=selector, ports=[ServicePort(name="http", port=port or 0, targetPort=one.port)]
        ),
    )


def _replica(one: Deployed, replica: int) -> dict[str, str]:
    return {_POD: f"{workload_name(one)}-{replica}"}


def _ingress(installation: Installation, one: Deployed) -> Ingress:
    exposed = one.service.exposed
    name = (exposed.name if exposed else None) or one.name
    backend = IngressBackend(service=IngressServiceBackend(name=one.name, port=ServiceBackendPort(name="http")))
    path = HTTPIngressPath(path="/", pathType="Prefix", backend=backend)
    return Ingress(
        metadata=ObjectMeta(name=name, namespace=one.namespace, labels=labels_of(installation, name)),
        spec=IngressSpec(rules=[IngressRule(http=HTTPIngressRuleValue(paths=[path]))]),
    )
