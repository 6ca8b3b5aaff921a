"""Ports at which the layouts' services answer on the nodes themselves: what a firewall has to let through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lightkube.resources.core_v1 import Service

from corral.rendering.installation import Installation
from corral.rendering.kubernetes import networking, workloads


def exposed_ports(installations: Iterable[Installation]) -> dict[int, tuple[str, ...]]:
    """Every port of load balancers, node ports and ingresses, in order, with the Services that answer there.

    K3s' own load balancer opens those of Services on every node (pitfall D07).
    """
    found: dict[int, set[str]] = {}
    for installation in installations:
        for name, port in _exposed(installation):
            found.setdefault(port, set()).add(name)
    return {port: tuple(sorted(names)) for port, names in sorted(found.items())}


def _exposed(installation: Installation) -> Iterator[tuple[str, int]]:
    for members in workloads.groups(installation):
        for service in networking.services(installation, members):
            for port in _ports(service):
                yield service.metadata.name if service.metadata and service.metadata.name else "", port
        for one in members:
            if one.service.exposed and one.service.exposed.kind == "ingress":
                for port in networking.TRAEFIK_PORTS:
                    yield one.name, port


def _ports(service: Service) -> list[int]:
    spec = service.spec
    if spec is None or spec.type not in ("LoadBalancer", "NodePort"):
        return []
    if spec.type == "LoadBalancer":
        return [port.port for port in spec.ports or ()]
    return [port.nodePort for port in spec.ports or () if port.nodePort is not None]
