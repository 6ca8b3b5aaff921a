"""Checks what needs two values of a file to compare: unique names, references, and what cannot be true together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from corral.cluster.document import Document, Path
from corral.cluster.errors import did_you_mean
from corral.cluster.salvage import names_in
from corral.cluster.shape import (
    ENGINES,
    REMOTE_ENGINES,
    SERVICE_ENGINES,
    ClusterShape,
    EngineShape,
    GpuShape,
    NodeShape,
    PlacementShape,
    StorageShape,
)
from corral.cluster.values import LayoutKind, StorageKind
from corral.errors import CorralError
from corral.units import Bytes, format_bytes


class GpuFacts(Protocol):
    """What a catalogue of GPUs says about one model."""

    @property
    def name(self) -> str: ...
    @property
    def memory(self) -> Bytes: ...


class FindGpu(Protocol):
    """A catalogue of GPUs: resolves a name to one model, or to several candidates; raises CorralError when unknown."""

    def __call__(self, text: str, *, memory: int | None = None) -> GpuFacts | tuple[GpuFacts, ...]: ...


class Checks:
    """The checks of one file; each adds what it finds to the document's problems."""

    def __init__(self, shape: ClusterShape, document: Document, find_gpu: FindGpu | None) -> None:
        self._shape = shape
        self._document = document
        self._find_gpu = find_gpu
        self._nodes: dict[str, NodeShape] = {node.name: node for node in reversed(shape.nodes)}
        self._storage: dict[str, StorageShape] = {volume.name: volume for volume in shape.storage}
        self._services = {service.name: service for service in shape.services}
        self._names_of = {
            thing: names_in(document, section)
            for thing, section in (("node", "nodes"), ("storage", "storage"), ("service", "services"))
        }
        self.gpu_models: dict[Path, GpuFacts] = {}
        """The catalogue's answer for every GPU that names a model."""

    def run(self) -> None:
        """Run all checks."""
        self._names()
        for index, node in enumerate(self._shape.nodes):
            self._gpus(node, ("nodes", index, "gpus"))
        for index, volume in enumerate(self._shape.storage):
            self._volume(volume, ("storage", index))
        self._check_services()
        self._layouts()
        self._engines()
        for index, queue in enumerate(self._shape.queues):
            for place, selector in enumerate(queue.pool or ()):
                self._selector(selector, ("queues", index, "pool", place))

    # Names

    def _names(self) -> None:
        shape = self._shape
        self._unique([(("nodes", i, "name"), node.name) for i, node in enumerate(shape.nodes)], "a node")
        self._unique(
            [(("nodes", i, "address"), node.address) for i, node in enumerate(shape.nodes) if node.address],
            "a node",
            what="address",
        )
        self._unique([(("storage", i, "name"), volume.name) for i, volume in enumerate(shape.storage)], "a volume")
        self._unique([(("services", i, "name"), service.name) for i, service in enumerate(shape.services)], "a service")
        self._unique([(("queues", i, "name"), queue.name) for i, queue in enumerate(shape.queues)], "a queue")
        uuids = [
            (("nodes", i, "gpus", j, "uuid"), gpu.uuid)
            for i, node in enumerate(shape.nodes)
            for j, gpu in enumerate(node.gpus or ())
            if gpu.uuid
        ]
        self._unique(uuids, "a GPU", what="UUID")

    def _unique(self, entries: Iterable[tuple[Path, str]], thing: str, *, what: str = "name") -> None:
        seen: set[str] = set()
        for path, name in entries:
            if name in seen:
                self._document.report(
                    "cluster.duplicate_name",
                    f"{thing} with the {what} {name!r} stands earlier in the file",
                    at=path,
                    hint=f"give each its own {what}",
                )
            seen.add(name)

    def _known(self, name: str | None, known: Iterable[str], thing: str, at: Path) -> bool:
        """Check a reference; True when it points at something."""
        names = [one for one in known if one not in self._document.stand_ins]
        if name is None or name in names or self._is_misshapen(thing, name):
            return name is not None
        self._document.report(
            "cluster.unknown_reference", f"there is no {thing} {name!r}", at=at, hint=did_you_mean(name, names)
        )
        return False

    def _is_misshapen(self, thing: str, name: str) -> bool:
        """Tell whether the name may be that of an entry whose own problem is already reported."""
        names = self._names_of.get(thing, set())
        return names is None or name in names or name in self._document.stand_ins

    def _is_written(self, at: Path) -> bool:
        """Tell whether the file has this key, even with a value that was left out for being wrong."""
        return at in self._document.keys

    # Nodes

    def _gpus(self, node: NodeShape, at: Path) -> None:
        seen: dict[int, int] = {}
        for place, gpu in enumerate(node.gpus or ()):
            index = place if gpu.index is None else gpu.index
            if index in seen:
                self._document.report(
                    "cluster.duplicate_name",
                    f"GPU {index} of node {node.name!r} is also entry {seen[index]} of this list",
                    at=(*at, place, "index"),
                    hint="give each GPU its own `index`",
                )
            seen.setdefault(index, place)
            self._gpu_model(gpu, (*at, place))

    def _gpu_model(self, gpu: GpuShape, at: Path) -> None:
        if gpu.model is None or self._find_gpu is None:
            return
        try:
            found = self._find_gpu(gpu.model, memory=gpu.memory)
        except CorralError as error:
            self._document.report("cluster.unknown_reference", error.what, at=(*at, "model"), hint=error.hint)
            return
        if not isinstance(found, tuple):
            self.gpu_models[at] = found
            return
        candidates = ", ".join(f"`{one.name}` ({format_bytes(one.memory)})" for one in found[:6])
        self._document.report(
            "cluster.ambiguous_reference",
            f"{gpu.model!r} is the name of {len(found)} GPU models",
            at=(*at, "model"),
            hint=f"write one of {candidates}",
        )

    # Storage, services, layouts

    def _volume(self, volume: StorageShape, at: Path) -> None:
        self._known(volume.node, self._nodes, "node", (*at, "node"))
        if volume.kind is StorageKind.LOCAL and not self._is_written((*at, "node")):
            self._conflict("a local volume lies on a node, and none is named", at, "add `node`")
        if volume.kind is not StorageKind.NFS and volume.server is not None:
            self._conflict(f"only nfs has a server; this volume is {volume.kind}", (*at, "server"), "remove `server`")
        if volume.kind is StorageKind.EPHEMERAL and (volume.node or volume.path):
            self._conflict(
                "an ephemeral volume lies where its service runs, not on a node or path of its own",
                at,
                "remove `node` and `path`",
            )
        if volume.node is not None and volume.server is not None:
            self._conflict("the volume has both a node and a server", (*at, "server"), "keep one of them")

    def _check_services(self) -> None:
        for index, service in enumerate(self._shape.services):
            at: Path = ("services", index)
            for place, engine in enumerate(service.engines):
                self._known(engine, SERVICE_ENGINES, "engine", (*at, "engines", place))
            for place, called in enumerate(service.calls):
                self._known(called, self._services, "service", (*at, "calls", place))
            self._known(service.node, self._nodes, "node", (*at, "node"))
            self._volumes(service.storage, service.node, (*at, "storage"))
            memory = service.memory
            if memory and memory.request and memory.limit and memory.request > memory.limit:
                self._conflict(
                    f"request {format_bytes(memory.request)} is more than limit {format_bytes(memory.limit)}",
                    (*at, "memory", "request"),
                    "raise `limit` or lower `request`",
                )

    def _volumes(self, names: Iterable[str], node: str | None, at: Path) -> None:
        for place, name in enumerate(names):
            self._known(name, self._storage, "storage", (*at, place))
            self._reach(name, node, (*at, place))

    def _reach(self, name: str, node: str | None, at: Path) -> None:
        """Check that a service on `node` can use a volume."""
        volume = self._storage.get(name)
        if volume is None or volume.kind is not StorageKind.LOCAL or None in (node, volume.node):
            return
        if volume.node != node:
            self._conflict(
                f"the volume {name!r} is on the disk of {volume.node!r}, and the service runs on {node!r}",
                at,
                f"place the service on `{volume.node}`, or use a volume of `{node}` or an nfs one",
            )

    def _layouts(self) -> None:
        kinds = [kind.value for kind in LayoutKind]
        for name, layout in self._shape.layouts.items():
            at: Path = ("layouts", name)
            if layout.kind is None and name not in kinds and not self._is_written((*at, "kind")):
                self._document.report(
                    "cluster.missing_key",
                    f"the layout {name!r} does not say of which kind it is",
                    at=at,
                    hint="add `kind`: one of " + ", ".join(kinds),
                )
            for service, placement in layout.services.items():
                self._placement(service, placement, (*at, "services", service))

    def _placement(self, service: str, placement: PlacementShape, at: Path) -> None:
        if service not in self._services:
            if self._is_misshapen("service", service):
                return
            self._document.report_key(
                "cluster.unknown_reference",
                f"there is no service {service!r}",
                at=at,
                hint=did_you_mean(service, self._services),
            )
            return
        self._known(placement.node, self._nodes, "node", (*at, "node"))
        node = placement.node or self._services[service].node
        if placement.storage is not None:
            self._volumes(placement.storage, node, (*at, "storage"))
        elif placement.node is not None:
            for name in self._services[service].storage:
                self._reach(name, node, (*at, "node"))
        for place, index in enumerate(placement.gpus or ()):
            self._gpu_of(node, index, (*at, "gpus", place))

    def _gpu_of(self, node: str | None, index: int, at: Path) -> None:
        """Check that a node has a GPU of this index, where the file lists its GPUs."""
        if node is None:
            self._conflict(f"GPU {index} of which node is not said", at, "add `node`")
            return
        gpus = self._nodes[node].gpus if node in self._nodes else None
        if gpus is None:
            return
        indexes = [place if gpu.index is None else gpu.index for place, gpu in enumerate(gpus)]
        if index not in indexes:
            listed = ", ".join(str(one) for one in indexes) or "none"
            self._document.report(
                "cluster.unknown_reference",
                f"node {node!r} has no GPU {index}",
                at=at,
                hint=f"use one of its GPUs ({listed}), or describe this GPU under `nodes`",
            )

    # Engines and queues

    def _engines(self) -> None:
        for name, engine in self._shape.engines.items():
            if name not in ENGINES:
                hint = did_you_mean(name, ENGINES)
                at: Path = ("engines", name)
                self._document.report_key("cluster.unknown_reference", f"there is no engine {name!r}", at=at, hint=hint)
            elif engine is not None:
                self._engine(name, engine, ("engines", name, "instances"))

    def _engine(self, name: str, engine: EngineShape, at: Path) -> None:
        if engine.instances and name not in REMOTE_ENGINES:
            self._conflict(
                f"the engine {name!r} runs on this machine and has no instances",
                at,
                "remove `instances`; only " + " and ".join(REMOTE_ENGINES) + " have them",
            )
        self._unique([((*at, i, "name"), one.name) for i, one in enumerate(engine.instances)], "an instance")
        self._unique([((*at, i, "url"), one.url) for i, one in enumerate(engine.instances)], "an instance", what="url")
        for place, instance in enumerate(engine.instances):
            self._known(instance.node, self._nodes, "node", (*at, place, "node"))
            if instance.gpu is not None:
                self._gpu_of(instance.node, instance.gpu, (*at, place, "gpu"))

    def _selector(self, selector: str, at: Path) -> None:
        node, _, slot = selector.partition("/")
        if node not in self._nodes and self._is_misshapen("node", node):
            return
        if node not in self._nodes:
            hint = did_you_mean(node, self._nodes)
            self._document.report("cluster.unknown_reference", f"there is no node {node!r}", at=at, hint=hint)
        elif slot.startswith("gpu") and slot[3:].isascii() and slot[3:].isdecimal() and len(slot) <= 6:
            self._gpu_of(node, int(slot[3:]), at)
        elif "/" in selector and not _is_cpu(slot):
            self._document.report(
                "cluster.bad_value",
                f"not a slot: {selector[:80]!r}",
                at=at,
                hint=f"write `{node}` for all of its slots, `{node}/gpu0` or `{node}/cpu`",
            )

    def _conflict(self, what: str, at: Path, hint: str) -> None:
        self._document.report("cluster.conflict", what, at=at, hint=hint)


def _is_cpu(slot: str) -> bool:
    number = slot.removeprefix("cpu")
    return slot.startswith("cpu") and (not number or (number.isascii() and number.isdecimal() and len(number) <= 4))
