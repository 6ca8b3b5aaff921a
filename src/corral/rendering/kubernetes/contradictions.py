"""What cannot be true together once it is to run on Kubernetes; each with its place in the cluster file.

A file can be sound as a file and still put two services of one pod on two nodes. Such things are refused, all at once:
what would be written is accepted by Kubernetes and never runs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from corral.cluster.values import GpuMode, ServiceKind
from corral.errors import Kind, Problem, ProblemsError
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import volumes
from corral.rendering.programs import image_of, mount_paths

_HIGHEST_PORT = 65_535
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""A DNS subdomain, as Kubernetes names nodes (RFC 1123)."""


class ContradictionError(ProblemsError):
    """The cluster file asks for things that cannot be true together on Kubernetes."""

    code: ClassVar[str] = "render.contradictions"
    kind: ClassVar[Kind] = Kind.INVALID


def check(installation: Installation, groups: Sequence[tuple[Deployed, ...]], objects: Iterable[Any]) -> None:
    """Refuse what cannot run. `objects` are the typed objects of the layout. Raises: ContradictionError."""
    problems = [
        *(problem for members in groups for problem in _of_pod(installation, members)),
        *_names_of_nodes(installation, groups),
        *_same_outside_port(installation),
        *_same_name(installation, objects),
    ]
    if problems:
        raise ContradictionError(problems)


def _of_pod(installation: Installation, members: tuple[Deployed, ...]) -> Iterator[Problem]:
    for one in members:
        yield from _of_service(installation, one)
    nodes = {one.node for one in members} | {volumes.bound_node(one) for one in members}
    nodes |= {storage.node for one in members for storage in one.storage if storage.kind == "local"}
    if len(nodes - {None}) > 1:
        listed = ", ".join(sorted(node for node in nodes if node))
        yield _problem(
            installation, members, f"it would have to run on several nodes: {listed}", "place it where its volumes are"
        )
    if len(members) > 1:
        yield from _of_shared_pod(installation, members)


def _of_shared_pod(installation: Installation, members: tuple[Deployed, ...]) -> Iterator[Problem]:
    hint = "leave `pod` out, or make them alike"
    for what, values in {
        "namespaces": {one.namespace for one in members},
        "numbers of replicas": {one.replicas for one in members},
        "sets of GPUs": {one.gpus for one in members if one.gpu_count and one.gpus is not None},
    }.items():
        if len(values) > 1:
            listed = ", ".join(sorted(str(value) for value in values))
            yield _problem(installation, members, f"services of one pod have different {what}: {listed}", hint)
    for port, count in sorted(Counter(one.port for one in members if one.port is not None).items()):
        if count > 1:
            yield _problem(
                installation, members, f"{count} services of one pod listen on port {port}", "give each its own `port`"
            )
    users = [one for one in members if one.gpu_count]
    if len(users) > 1 and installation.gpu_mode is GpuMode.DEVICE_PLUGIN:
        yield _problem(
            installation,
            users,
            f"{len(users)} services of one pod need GPUs, and the device plugin gives a card to one container only",
            "set `kubernetes.gpuMode: dra`",
        )


def _of_service(installation: Installation, one: Deployed) -> Iterator[Problem]:
    if one.service.kind is ServiceKind.POSTGRESQL and one.replicas > 1:
        what = f"{one.replicas} replicas of PostgreSQL would write to one volume"
        yield _problem(installation, (one,), what, "set `replicas: 1`")
    exposed = one.service.exposed
    last = (exposed.port if exposed else 0) + one.replicas - 1
    if one.has_addresses_of_replicas and last > _HIGHEST_PORT:
        what = f"each of its {one.replicas} replicas gets a port of its own, up to {last}"
        yield _problem(installation, (one,), what, "choose a lower `exposed.port`")
    paths = Counter(mount_paths(one.service, [storage.name for storage in one.storage]).values())
    for path, count in sorted(paths.items()):
        if count > 1:
            yield _problem(
                installation, (one,), f"{count} volumes are mounted at {path}", "give each its own place in `mounts`"
            )


def _names_of_nodes(installation: Installation, groups: Iterable[tuple[Deployed, ...]]) -> Iterator[Problem]:
    """Kubernetes refuses a node whose name is no DNS name, and a pod waits for ever for one that it knows otherwise."""
    if installation.cluster.kubernetes is None:
        return
    wanted = {volumes.node_of(members) for members in groups}
    wanted |= {node.name for node in installation.cluster.nodes if node.k3s_role is not None}
    for name in sorted(name for name in wanted if name is not None and not _NODE_NAME.fullmatch(name)):
        yield Problem(
            code="render.contradiction",
            what=f"Kubernetes takes no node called {name!r}",
            where=f"{installation.source} nodes {name}",
            hint="call it by lower-case letters, digits, `-` and `.`, here and with K3s' `node-name`",
        )


def _same_outside_port(installation: Installation) -> Iterator[Problem]:
    """A port of the nodes goes to one Service, and so does one of K3s' own load balancer (pitfall D07)."""
    kubernetes = installation.cluster.kubernetes
    kinds = {"nodePort": "the nodes"}
    if kubernetes is not None and kubernetes.distribution == "k3s":
        kinds["loadBalancer"] = "K3s' load balancer"
    users: dict[tuple[int, str], list[Deployed]] = {}
    for one in installation.deployed:
        exposed = one.service.exposed
        if exposed is not None and exposed.kind in kinds and one.port is not None and image_of(one.service) is not None:
            for replica in range(one.replicas if one.has_addresses_of_replicas else 1):
                users.setdefault((exposed.port + replica, kinds[exposed.kind]), []).append(one)
    for (port, giver), found in sorted(users.items()):
        if len(found) > 1:
            what = f"{len(found)} services want port {port} of {giver}, which goes to one"
            yield _problem(installation, found, what, "give each its own `exposed.port`")


def _same_name(installation: Installation, objects: Iterable[Any]) -> Iterator[Problem]:
    named = Counter((one.kind or "object", one.metadata.namespace, one.metadata.name) for one in objects)
    for (kind, namespace, name), count in named.items():
        if count > 1:
            yield Problem(
                code="render.contradiction",
                what=f"{count} things would be called {kind} {name!r} in the namespace {namespace}",
                where=_layout(installation),
                hint="give them different names: `name`, `configMap` or `exposed.name`",
            )


def _problem(installation: Installation, members: Sequence[Deployed], what: str, hint: str) -> Problem:
    names = ", ".join(one.service.name for one in members)
    return Problem(code="render.contradiction", what=what, where=f"{_layout(installation)} services {names}", hint=hint)


def _layout(installation: Installation) -> str:
    return f"{installation.source} " + (
        f"layouts.{installation.layout.name}" if installation.layout else "without layout"
    )
