"""Contradictions: requests that cannot be true together on Kubernetes, each with its place in the cluster file.

A file can be valid and still put two services of one pod on two nodes. All contradictions are reported at once: from
such a file Kubernetes would accept every manifest, and never run the pods.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from corral.cluster.values import GpuMode, ServiceKind, StorageKind
from corral.errors import Kind, Problem, ProblemsError
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import volumes
from corral.rendering.programs import image_of, mount_paths

_HIGHEST_PORT = 65_535
_ONE_WRITER = {ServiceKind.POSTGRESQL: "PostgreSQL", ServiceKind.REDIS: "Redis", ServiceKind.QDRANT: "Qdrant"}
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""A DNS subdomain, as Kubernetes names nodes (RFC 1123)."""


class ContradictionError(ProblemsError):
    """The cluster file asks for things that cannot be true together on Kubernetes."""

    code: ClassVar[str] = "render.contradictions"
    kind: ClassVar[Kind] = Kind.INVALID


def check_layout(installation: Installation, groups: Sequence[tuple[Deployed, ...]], objects: Iterable[Any]) -> None:
    """Refuse a layout that cannot run.

    Args:
        groups: The services of each pod, Jobs included.
        objects: The typed objects of the layout.

    Raises: ContradictionError.
    """
    problems = [
        *(problem for members in groups for problem in _check_pod(installation, members)),
        *_check_node_names(installation, groups),
        *_check_membership(installation, groups),
        *_check_outside_ports(installation),
        *_check_object_names(installation, objects),
    ]
    if problems:
        raise ContradictionError(problems)


def _check_pod(installation: Installation, members: tuple[Deployed, ...]) -> Iterator[Problem]:
    for member in members:
        yield from _check_service(installation, member)
    nodes = {member.node for member in members} | {volumes.find_disk_node(member) for member in members}
    nodes |= {storage.node for member in members for storage in member.storage if storage.kind == "local"}
    if len(nodes - {None}) > 1:
        listed = ", ".join(sorted(node for node in nodes if node))
        what = f"it would have to run on several nodes: {listed}"
        yield _build_problem(installation, members, what, "place it on the node of its volumes")
    if len(members) > 1:
        yield from _check_shared_pod(installation, members)


def _check_shared_pod(installation: Installation, members: tuple[Deployed, ...]) -> Iterator[Problem]:
    hint = "remove `pod`, or set the same for all of them"
    for what, values in {
        "namespaces": {member.namespace for member in members},
        "numbers of replicas": {member.replicas for member in members},
        "sets of GPUs": {member.gpus for member in members if member.gpu_count and member.gpus is not None},
    }.items():
        if len(values) > 1:
            listed = ", ".join(sorted(str(value) for value in values))
            yield _build_problem(installation, members, f"services of one pod have different {what}: {listed}", hint)
    # Containers of a pod share its network: a second one on the same port fails when it starts.
    for port, count in sorted(Counter(member.port for member in members if member.port is not None).items()):
        if count > 1:
            what = f"{count} services of one pod listen on port {port}"
            yield _build_problem(installation, members, what, "give each its own `port`")
    users = [member for member in members if member.gpu_count]
    if len(users) > 1 and installation.gpu_mode is GpuMode.DEVICE_PLUGIN:
        what = f"{len(users)} services of one pod need GPUs, and the device plugin gives a GPU to one container only"
        yield _build_problem(installation, users, what, "set `kubernetes.gpuMode: dra`")


def _check_service(installation: Installation, deployed: Deployed) -> Iterator[Problem]:
    kind = deployed.service.kind
    if kind in _ONE_WRITER and deployed.replicas > 1:
        what = f"{deployed.replicas} replicas of {_ONE_WRITER[kind]} would write to one volume"
        yield _build_problem(installation, (deployed,), what, "set `replicas: 1`")
    if kind is ServiceKind.CORRAL and deployed.replicas > 1:
        yield from _check_standby(installation, deployed)
    exposed = deployed.service.exposed
    last = (exposed.port if exposed else 0) + deployed.replicas - 1
    if deployed.has_addresses_of_replicas and last > _HIGHEST_PORT:
        what = f"each of its {deployed.replicas} replicas gets a port of its own, up to {last}"
        yield _build_problem(installation, (deployed,), what, "choose a lower `exposed.port`")
    paths = Counter(mount_paths(deployed.service, [storage.name for storage in deployed.storage]).values())
    for path, count in sorted(paths.items()):
        if count > 1:
            what = f"{count} volumes are mounted at {path}"
            yield _build_problem(installation, (deployed,), what, "give each its own path in `mounts`")


def _check_standby(installation: Installation, deployed: Deployed) -> Iterator[Problem]:
    """Servers that stand by for each other have one database and one folder of files."""
    if not deployed.has_outside_database:
        what = f"each of its {deployed.replicas} replicas would have a database of its own"
        hint = "let it call a service of kind postgresql, or name `database.urlFrom`; else set `replicas: 1`"
        yield _build_problem(installation, (deployed,), what, hint)
    if not any(storage.kind is not StorageKind.EPHEMERAL for storage in deployed.storage):
        what = f"its {deployed.replicas} replicas have no volume in common for the files of tasks"
        hint = "give it a `storage` of kind nfs, which pods on several nodes can mount; else set `replicas: 1`"
        yield _build_problem(installation, (deployed,), what, hint)


def _check_node_names(installation: Installation, groups: Iterable[tuple[Deployed, ...]]) -> Iterator[Problem]:
    """Kubernetes refuses a node whose name is not a DNS name, and a pod for such a node would stay pending."""
    if installation.cluster.kubernetes is None:
        return
    names = {volumes.find_node(members) for members in groups}
    names |= {node.name for node in installation.cluster.nodes if node.k3s_role is not None}
    for name in sorted(name for name in names if name is not None and not _NODE_NAME.fullmatch(name)):
        yield Problem(
            code="render.contradiction",
            what=f"Kubernetes does not accept {name!r} as the name of a node",
            where=f"{installation.source} nodes {name}",
            hint="use lower-case letters, digits, `-` and `.`, here and in K3s' `node-name`",
        )


def _check_membership(installation: Installation, groups: Iterable[tuple[Deployed, ...]]) -> Iterator[Problem]:
    """A pod for a node outside of this Kubernetes would stay pending."""
    known = {node.name for node in installation.cluster.kubernetes_nodes}
    for members in groups:
        node = volumes.find_node(members)
        if node is not None and node not in known:
            what = f"it runs on {node}, which has no role in K3s"
            hint = f"give {node} a `k3sRole`, or place it on another node; `--only compose` writes it for {node} alone"
            yield _build_problem(installation, members, what, hint)


def _check_outside_ports(installation: Installation) -> Iterator[Problem]:
    """A port of the nodes goes to one Service, and so does a port of K3s' own load balancer (pitfall D07)."""
    kubernetes = installation.cluster.kubernetes
    givers = {"nodePort": "the nodes"}
    if kubernetes is not None and kubernetes.distribution == "k3s":
        givers["loadBalancer"] = "K3s' load balancer"
    users: dict[tuple[int, str], list[Deployed]] = {}
    for deployed in installation.deployed:
        exposed = deployed.service.exposed
        if exposed is None or exposed.kind not in givers:
            continue
        if deployed.port is None or image_of(deployed.service) is None:
            continue
        for replica in range(deployed.replicas if deployed.has_addresses_of_replicas else 1):
            users.setdefault((exposed.port + replica, givers[exposed.kind]), []).append(deployed)
    for (port, giver), services in sorted(users.items()):
        if len(services) > 1:
            what = f"{len(services)} services want port {port} of {giver}, which goes to one"
            yield _build_problem(installation, services, what, "give each its own `exposed.port`")


def _check_object_names(installation: Installation, objects: Iterable[Any]) -> Iterator[Problem]:
    names = Counter((item.kind or "object", item.metadata.namespace, item.metadata.name) for item in objects)
    for (kind, namespace, name), count in names.items():
        if count > 1:
            yield Problem(
                code="render.contradiction",
                what=f"{count} objects would have the name {kind} {name!r} in the namespace {namespace}",
                where=_locate_layout(installation),
                hint="give them different names: `name`, `configMap` or `exposed.name`",
            )


def _build_problem(installation: Installation, services: Sequence[Deployed], what: str, hint: str) -> Problem:
    names = ", ".join(deployed.service.name for deployed in services)
    where = f"{_locate_layout(installation)} services {names}"
    return Problem(code="render.contradiction", what=what, where=where, hint=hint)


def _locate_layout(installation: Installation) -> str:
    layout = f"layouts.{installation.layout.name}" if installation.layout else "without layout"
    return f"{installation.source} {layout}"
