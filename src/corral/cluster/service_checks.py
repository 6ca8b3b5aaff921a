"""Checks services: the volumes they use, the nodes they run on, and the layouts that place them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from corral.cluster.document import Path
from corral.cluster.references import References
from corral.cluster.secrecy import is_secret
from corral.cluster.shape import PlacementShape, ServiceShape, StorageShape
from corral.cluster.values import LayoutKind, ServiceKind, StorageKind
from corral.engine_kinds import SERVICE_ENGINES
from corral.units import format_bytes


def check_services(references: References) -> None:
    """Check volumes, services and layouts."""
    shape = references.shape
    references.unique(((("storage", i, "name"), volume.name) for i, volume in enumerate(shape.storage)), "a volume")
    references.unique(((("services", i, "name"), one.name) for i, one in enumerate(shape.services)), "a service")
    for index, volume in enumerate(shape.storage):
        _check_volume(volume, ("storage", index), references)
    for index, service in enumerate(shape.services):
        _check_service(service, ("services", index), references)
    _check_layouts(references)


def _check_volume(volume: StorageShape, at: Path, references: References) -> None:
    references.known(volume.node, references.nodes, "node", (*at, "node"))
    if volume.kind is StorageKind.LOCAL and not references.is_written((*at, "node")):
        references.conflict("a local volume lies on a node, and none is named", at, "add `node`")
    if volume.kind is not StorageKind.NFS and volume.server is not None:
        what = f"only an nfs volume has a server; this one is {volume.kind}"
        references.conflict(what, (*at, "server"), "remove `server`")
    if volume.kind is StorageKind.EPHEMERAL and (volume.node or volume.path):
        what = "an ephemeral volume lies where its service runs, not on a node or path of its own"
        references.conflict(what, at, "remove `node` and `path`")
    if volume.kind is StorageKind.NFS and volume.node is not None and volume.server is not None:
        references.conflict("the volume has both a node and a server", (*at, "server"), "keep one of them")


def _check_service(service: ServiceShape, at: Path, references: References) -> None:
    for place, engine in enumerate(service.engines):
        references.known(engine, SERVICE_ENGINES, "engine", (*at, "engines", place))
    for place, called in enumerate(service.calls):
        references.known(called, references.services, "service", (*at, "calls", place))
    references.known(service.node, references.nodes, "node", (*at, "node"))
    _check_volumes(service.storage, service.node, (*at, "storage"), references)
    for volume in service.mounts:
        references.known_key(volume, references.storage, "storage", (*at, "mounts", volume))
    if service.routes and service.kind is not ServiceKind.LITELLM:
        references.conflict("only a service of kind litellm has routes", (*at, "routes"), "add `kind: litellm`")
    _check_env(service.env, (*at, "env"), references)
    memory = service.memory
    if memory and memory.request and memory.limit and memory.request > memory.limit:
        what = f"request {format_bytes(memory.request)} is more than limit {format_bytes(memory.limit)}"
        references.conflict(what, (*at, "memory", "request"), "raise `limit` or lower `request`")


def _check_env(env: Mapping[str, str], at: Path, references: References) -> None:
    """Check that nothing secret stands in the file: it would stand in every manifest as well."""
    for name, value in env.items():
        if is_secret(name, value):
            references.document.report(
                "cluster.secret",
                f"{name} looks like a secret, which would stand in every manifest",
                at=(*at, name),
                hint=f"write `secrets: {{{name}: {{secret: <name>, key: <key>}}}}` instead, and make that Secret",
            )


def _check_volumes(names: Iterable[str], node: str | None, at: Path, references: References) -> None:
    for place, name in enumerate(names):
        references.known(name, references.storage, "storage", (*at, place))
        _check_reach(name, node, (*at, place), references)


def _check_reach(name: str, node: str | None, at: Path, references: References) -> None:
    """Check that a service on `node` can use a volume: a local one stays on the disk that it was made on."""
    volume = references.storage.get(name)
    if volume is None or volume.kind is not StorageKind.LOCAL or None in (node, volume.node) or volume.node == node:
        return
    references.conflict(
        f"the volume {name!r} is on the disk of {volume.node!r}, and the service runs on {node!r}",
        at,
        f"place the service on `{volume.node}`, or use a volume of `{node}` or an nfs one",
    )


def _check_layouts(references: References) -> None:
    kinds = [kind.value for kind in LayoutKind]
    for name, layout in references.shape.layouts.items():
        at: Path = ("layouts", name)
        if layout.kind is None and name not in kinds and not references.is_written((*at, "kind")):
            references.document.report(
                "cluster.missing_key",
                f"the layout {name!r} does not say of which kind it is",
                at=at,
                hint="add `kind`: one of " + ", ".join(kinds),
            )
        for service, placement in layout.services.items():
            here = (*at, "services", service)
            references.known_key(service, references.services, "service", here)
            _check_placement(references.services.get(service), placement, here, references)


def _check_placement(service: ServiceShape | None, placement: PlacementShape, at: Path, references: References) -> None:
    references.known(placement.node, references.nodes, "node", (*at, "node"))
    _check_env(placement.env, (*at, "env"), references)
    node = placement.node or (service.node if service else None)
    if placement.storage is not None:
        _check_volumes(placement.storage, node, (*at, "storage"), references)
    elif placement.node is not None and service is not None:
        for name in service.storage:
            _check_reach(name, node, (*at, "node"), references)
    if placement.gpus and node is None and not references.is_written((*at, "node")):
        references.conflict("it says which GPUs, but not of which node", (*at, "gpus"), "add `node`")
    for place, index in enumerate(placement.gpus or ()):
        references.gpu_of(node, index, (*at, "gpus", place))
