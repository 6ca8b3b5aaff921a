"""Addresses inside and outside of the cluster, and network policies.

Policies list the pods that can connect to a pod; its own connections are not restricted, since models, packages and
providers can be anywhere, and name resolution must work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.meta_v1 import LabelSelector
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

from corral.cluster.values import ServiceKind
from corral.engine_kinds import SERVICE_ENGINES
from corral.rendering.doors import FRONTEND, Door, choose_page_port, find_door, find_server, list_door_ports
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes.objects import REPLICA, make_metadata, make_selector, name_port, name_workload
from corral.rendering.kubernetes.workloads import is_lent, is_stateful, name_headless_service, name_replica
from corral.rendering.names import add_suffix, dns_name

_POD = "statefulset.kubernetes.io/pod-name"
_TYPES = {"loadBalancer": "LoadBalancer", "nodePort": "NodePort"}
_NODE_PORTS = range(30_000, 32_768)
"""Ports of nodes that Kubernetes gives to Services by default."""
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
TRAEFIK_PORTS = (80, 443)
"""The ports on every node of Traefik, which comes with K3s."""
_ENGINES = frozenset(SERVICE_ENGINES)
_OWN = "own-namespace"
_MONITORING = "monitoring"
"""The namespace from which metrics are read."""


def build_services(installation: Installation, members: Sequence[Deployed]) -> list[Service]:
    """Every address of a workload: one by its name, one for each replica that keeps state, and those outside."""
    services: list[Service] = []
    if is_stateful(installation, members) or is_lent(installation, members):
        services.append(_build_headless_service(installation, members))
    for member in members:
        if member.port is not None:
            services += _build_inside_services(installation, member)
            services += _build_outside_services(installation, member)
        if member.service.kind is ServiceKind.CORRAL:
            services += _build_door_services(installation, member)
    return services


def build_ingresses(installation: Installation, members: Sequence[Deployed]) -> list[Ingress]:
    """The Ingresses of services that the cluster file exposes as such; of engines behind doors, with their server."""
    own = [
        _build_ingress(installation, member, member, _name_page_port(installation, member))
        for member in members
        if has_ingress(member) and member.port and not member.has_addresses_of_replicas
        if not leads_to_door(installation, member)
    ]
    servers = [member for member in members if member.service.kind is ServiceKind.CORRAL]
    behind = [(server, *part) for server in servers for part in _list_behind_doors(installation)]
    return own + [
        _build_ingress(installation, deployed, server, dns_name(door.engine))
        for server, deployed, door in behind
        if has_ingress(deployed)
    ]


def _name_page_port(installation: Installation, deployed: Deployed) -> str:
    """Name the port that people open."""
    is_server = deployed.service.kind is ServiceKind.CORRAL
    return FRONTEND if is_server and FRONTEND in list_door_ports(installation.cluster) else "http"


def has_ingress(deployed: Deployed) -> bool:
    """Return whether the cluster file exposes a service by an Ingress."""
    return deployed.service.exposed is not None and deployed.service.exposed.kind == "ingress"


def find_node_port(deployed: Deployed, replica: int = 0) -> int | None:
    """The port of the nodes that a service asks for; None if Kubernetes must choose one."""
    exposed = deployed.service.exposed
    if exposed is None or exposed.kind != "nodePort" or exposed.port + replica not in _NODE_PORTS:
        return None
    return exposed.port + replica


def build_workload_policies(installation: Installation, members: Sequence[Deployed]) -> list[NetworkPolicy]:
    """Admit a workload's own namespace, its callers and monitoring; every address if the service is exposed.

    Callers of an engine are also Corral's own server, which drives it, and those of the engines behind a server's doors
    are the server's. Empty for workloads without a port.
    """
    namespace = members[0].namespace
    ports = {port for member in members for port in _list_open_ports(installation, member)}
    if not ports:
        return []
    others = sorted({_MONITORING, *_list_caller_namespaces(installation, members)} - {namespace})
    peers = [
        NetworkPolicyPeer(podSelector=LabelSelector()),
        *(NetworkPolicyPeer(namespaceSelector=LabelSelector(matchLabels={_NAMESPACE_NAME: other})) for other in others),
    ]
    rules = [NetworkPolicyIngressRule(from_=peers, ports=_list_policy_ports(ports))]
    open_to_all = {port for member in members for port in _list_exposed_ports(installation, member)}
    if open_to_all:
        rules.append(NetworkPolicyIngressRule(ports=_list_policy_ports(open_to_all)))
    name = name_workload(members[0])
    return [
        NetworkPolicy(
            metadata=make_metadata(installation, name, namespace),
            spec=NetworkPolicySpec(
                podSelector=LabelSelector(matchLabels=make_selector(installation, name)),
                policyTypes=["Ingress"],
                ingress=rules,
            ),
        )
    ]


def _list_open_ports(installation: Installation, deployed: Deployed) -> list[int]:
    """List the ports of a service's pods, those of doors included."""
    if deployed.port is None:
        return []
    is_server = deployed.service.kind is ServiceKind.CORRAL
    return [deployed.port, *(list_door_ports(installation.cluster).values() if is_server else ())]


def _list_exposed_ports(installation: Installation, deployed: Deployed) -> list[int]:
    """List the ports of a service's pods that the cluster file exposes; those of engines are their doors' ports."""
    if deployed.service.kind is not ServiceKind.CORRAL:
        is_open = deployed.service.exposed is not None and not leads_to_door(installation, deployed)
        return [deployed.port] if is_open and deployed.port else []
    page = choose_page_port(installation.cluster, deployed) if deployed.service.exposed else None
    return [*([page] if page else []), *(door.port for _, door in _list_behind_doors(installation))]


def build_namespace_policies(installation: Installation, namespaces: Iterable[str]) -> list[NetworkPolicy]:
    """Admit the pods of a namespace to each other; other pods only where another policy admits them.

    Databases and dashboards that people deployed there by hand keep working among themselves.
    """
    neighbours = NetworkPolicyIngressRule(from_=[NetworkPolicyPeer(podSelector=LabelSelector())])
    return [
        NetworkPolicy(
            metadata=make_metadata(installation, _OWN, namespace),
            spec=NetworkPolicySpec(podSelector=LabelSelector(), policyTypes=["Ingress"], ingress=[neighbours]),
        )
        for namespace in namespaces
    ]


def _list_policy_ports(ports: Iterable[int]) -> list[NetworkPolicyPort]:
    return [NetworkPolicyPort(protocol="TCP", port=port) for port in sorted(ports)]


def _list_caller_namespaces(installation: Installation, members: Sequence[Deployed]) -> set[str]:
    """The namespaces of the services that call a member of a pod, be it through a door."""
    names = {member.service.name for member in members}
    reached = {target.service.name for member in members for target in _list_behind(installation, member)}
    callers = {
        caller.namespace
        for caller in installation.deployed
        if not (names | reached).isdisjoint(caller.service.calls)
        or (reached and caller.service.kind is ServiceKind.LITELLM)
    }
    server = find_server(installation.deployed)
    drives = any(not _ENGINES.isdisjoint(member.service.engines) for member in members)
    return callers | ({server.namespace} if server is not None and drives else set())


def _list_behind(installation: Installation, server: Deployed) -> list[Deployed]:
    """List the engines that others reach through the doors of a server; empty for other services."""
    if server.service.kind is not ServiceKind.CORRAL:
        return []
    services = installation.deployed
    return [deployed for deployed in services if find_door(installation.cluster, services, deployed) is not None]


def _build_headless_service(installation: Installation, members: Sequence[Deployed]) -> Service:
    return Service(
        metadata=make_metadata(installation, name_headless_service(members), members[0].namespace),
        spec=ServiceSpec(
            clusterIP="None",
            publishNotReadyAddresses=True,
            selector=make_selector(installation, name_workload(members[0])),
            ports=[ServicePort(name=name_port(member), port=member.port) for member in members if member.port] or None,
        ),
    )


def _build_inside_services(installation: Installation, deployed: Deployed) -> Iterator[Service]:
    """One address with the service's name; with several replicas that keep state, one for each instead."""
    if not deployed.has_addresses_of_replicas:
        selector = make_selector(installation, name_workload(deployed))
        service = _build_service(installation, deployed, deployed.name, selector, "ClusterIP", deployed.port)
        if deployed.service.kind is ServiceKind.CORRAL and service.spec is not None:
            doors = list_door_ports(installation.cluster).items()
            ports = [ServicePort(name=dns_name(door), port=port, targetPort=port) for door, port in doors]
            service.spec.ports = [*(service.spec.ports or ()), *ports]
        yield service
        return
    for replica in range(deployed.replicas):
        name = add_suffix(deployed.name, str(replica))
        selector = _select_replica(installation, deployed, replica)
        yield _build_service(installation, deployed, name, selector, "ClusterIP", deployed.port)


def _build_outside_services(installation: Installation, deployed: Deployed) -> Iterator[Service]:
    """Addresses for people; replicas that keep state have a port each, since K3s gives a port to one Service only."""
    exposed = deployed.service.exposed
    if exposed is None or exposed.kind not in _TYPES or leads_to_door(installation, deployed):
        return
    name = _name_outside(deployed)
    kind = _TYPES[exposed.kind]
    if not deployed.has_addresses_of_replicas:
        selector = make_selector(installation, name_workload(deployed))
        is_server = deployed.service.kind is ServiceKind.CORRAL
        port = choose_page_port(installation.cluster, deployed) if is_server else None
        yield _build_service(
            installation, deployed, name, selector, kind, exposed.port, port, node_port=find_node_port(deployed)
        )
        return
    for replica in range(deployed.replicas):
        yield _build_service(
            installation,
            deployed,
            add_suffix(name, str(replica)),
            _select_replica(installation, deployed, replica),
            kind,
            exposed.port + replica,
            node_port=find_node_port(deployed, replica),
        )


def leads_to_door(installation: Installation, deployed: Deployed) -> bool:
    """Return whether an engine's address outside of the cluster is that of a door of Corral's own server."""
    door = find_door(installation.cluster, installation.deployed, deployed)
    return door is not None and door.is_listener and deployed.service.exposed is not None


def _list_behind_doors(installation: Installation) -> list[tuple[Deployed, Door]]:
    """List the engines whose addresses outside are those of doors, each name once."""
    behind: dict[str, tuple[Deployed, Door]] = {}
    for deployed in installation.deployed:
        door = find_door(installation.cluster, installation.deployed, deployed)
        if door is not None and leads_to_door(installation, deployed):
            behind.setdefault(_name_outside(deployed), (deployed, door))
    return list(behind.values())


def _build_door_services(installation: Installation, server: Deployed) -> Iterator[Service]:
    """The addresses outside of engines that Corral's own server is in front of, by their names and ports."""
    selector = make_selector(installation, name_workload(server))
    for deployed, door in _list_behind_doors(installation):
        exposed = deployed.service.exposed
        if exposed is not None and exposed.kind in _TYPES:
            yield _build_service(
                installation,
                server,
                _name_outside(deployed),
                selector,
                _TYPES[exposed.kind],
                exposed.port,
                door.port,
                node_port=find_node_port(deployed),
            )


def _name_outside(deployed: Deployed) -> str:
    """Name the Service or Ingress for people as the cluster file does, else after the service, with a suffix."""
    chosen = deployed.service.exposed.name if deployed.service.exposed else None
    if chosen is None or dns_name(chosen) == deployed.name:
        return add_suffix(deployed.name, "outside")
    return dns_name(chosen)


def _build_service(
    installation: Installation,
    deployed: Deployed,
    name: str,
    selector: dict[str, str],
    kind: str,
    port: int | None,
    target: int | None = None,
    *,
    node_port: int | None = None,
) -> Service:
    """`target` is the port of the pods, where that is not the service's own."""
    ports = [ServicePort(name="http", port=port or 0, targetPort=target or deployed.port, nodePort=node_port)]
    return Service(
        metadata=make_metadata(installation, name, deployed.namespace),
        spec=ServiceSpec(type=kind, selector=selector, ports=ports),
    )


def _select_replica(installation: Installation, deployed: Deployed, replica: int) -> dict[str, str]:
    if is_lent(installation, (deployed,)):
        return make_selector(installation, name_workload(deployed)) | {REPLICA: str(replica)}
    return {_POD: name_replica((deployed,), replica)}


def _build_ingress(installation: Installation, exposed: Deployed, target: Deployed, port: str) -> Ingress:
    """`exposed` is the service of the cluster file, `target` the one that answers, at its port of this name."""
    backend = IngressBackend(service=IngressServiceBackend(name=target.name, port=ServiceBackendPort(name=port)))
    path = HTTPIngressPath(path="/", pathType="Prefix", backend=backend)
    return Ingress(
        metadata=make_metadata(installation, _name_outside(exposed), target.namespace),
        spec=IngressSpec(rules=[IngressRule(http=HTTPIngressRuleValue(paths=[path]))]),
    )
