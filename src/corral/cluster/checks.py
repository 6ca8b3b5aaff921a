"""Checks across the file: unique names, references that point at something, things that cannot be true together.

Each check reports every problem to the document. Models of GPUs are looked up on the way, once for each GPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from corral.cluster.destinations import check_pattern, is_plain_path
from corral.cluster.document import Document, YamlPath
from corral.cluster.engine_shapes import EngineShape, InstanceShape
from corral.cluster.gpu_facts import FindGpu, GpuFacts
from corral.cluster.machine_shapes import GpuShape, NodeShape, Shape
from corral.cluster.preset_checks import find_preset_problems
from corral.cluster.run_shapes import RUN_KINDS, RunShape, find_kind_problems
from corral.cluster.secrecy import is_secret
from corral.cluster.shape import (
    ClusterShape,
    PlacementShape,
    ServiceShape,
    StorageShape,
)
from corral.cluster.values import LayoutKind, ServiceKind, StorageKind
from corral.engine_kinds import ENGINES, SERVICE_ENGINES
from corral.errors import CorralError, did_you_mean
from corral.presets.catalogue import list_presets
from corral.units import format_bytes

_SECTIONS = {"node": "nodes", "storage": "storage", "service": "services"}


class References:
    """The named parts of one file; problems that checks find are added to the document."""

    def __init__(self, shape: ClusterShape, document: Document) -> None:
        self.shape = shape
        self.document = document
        # Of entries with the same name, references mean the first.
        self.nodes: dict[str, NodeShape] = {node.name: node for node in reversed(shape.nodes)}
        self.storage: dict[str, StorageShape] = {volume.name: volume for volume in reversed(shape.storage)}
        self.services: dict[str, ServiceShape] = {service.name: service for service in reversed(shape.services)}
        self._names = {thing: _list_names(document, section) for thing, section in _SECTIONS.items()}

    def check_unique(self, entries: Iterable[tuple[YamlPath, str | None]], thing: str, *, what: str = "name") -> None:
        """Check that no two entries have the same text; None is not compared."""
        seen: set[str] = set()
        for path, name in entries:
            if name is not None and name in seen:
                self.document.report(
                    "cluster.duplicate_name",
                    f"{thing} with the {what} {name!r} is also earlier in the file",
                    at=path,
                    hint=f"give each its own {what}",
                )
            seen.add(name or "")

    def check_known(self, name: str | None, known: Iterable[str], thing: str, at: YamlPath) -> None:
        """Check that a value names something that exists."""
        if hint := self._explain_unknown(name, known, thing):
            self.document.report("cluster.unknown_reference", f"there is no {thing} {name!r}", at=at, hint=hint)

    def check_known_key(self, name: str, known: Iterable[str], thing: str, at: YamlPath) -> None:
        """Check that a key names something that exists."""
        if hint := self._explain_unknown(name, known, thing):
            self.document.report_key("cluster.unknown_reference", f"there is no {thing} {name!r}", at=at, hint=hint)

    def _explain_unknown(self, name: str | None, known: Iterable[str], thing: str) -> str | None:
        """Return the hint for a name that points at nothing; None when it exists or its entry is misshapen itself."""
        stand_ins = self.document.stand_ins
        names = [word for word in known if word not in stand_ins]
        if name is None or name in names or name in stand_ins:
            return None
        misshapen = self._names.get(thing, set())
        if misshapen is None or name in misshapen:
            return None
        return did_you_mean(name, names)

    def is_written(self, at: YamlPath) -> bool:
        """Whether the file has this key, even with a value that was left out for being wrong."""
        return at in self.document.keys

    def report_conflict(self, what: str, at: YamlPath, hint: str) -> None:
        """Report things that cannot be true together."""
        self.document.report("cluster.conflict", what, at=at, hint=hint)

    def check_gpu(self, node: str | None, index: int, at: YamlPath) -> None:
        """Check that a node has a GPU of this index, where the file lists its GPUs."""
        gpus = self.nodes[node].gpus if node in self.nodes else None
        indexes = sorted({index_of(gpu, number) for number, gpu in enumerate(gpus or ())})
        if gpus is None or index in indexes:
            return
        listed = ", ".join(map(str, indexes)) or "none"
        self.document.report(
            "cluster.unknown_reference",
            f"node {node!r} has no GPU {index}",
            at=at,
            hint=f"use one of its GPUs ({listed}), or describe this GPU under `nodes`",
        )


def _list_names(document: Document, section: str) -> set[str] | None:
    """List the names that a section gives to its entries, misshapen or not; None when it is not a list."""
    entries: Any = document.value.get(section, [])  # plain YAML
    if not isinstance(entries, list):
        return None
    mappings = [cast("dict[str, Any]", entry) for entry in cast("list[Any]", entries) if isinstance(entry, dict)]
    return {str(mapping.get("name")) for mapping in mappings}


def index_of(gpu: GpuShape, number: int) -> int:
    """Return the index of a GPU: what the file says, else its number in the list."""
    return number if gpu.index is None else gpu.index


def check_nodes(references: References, find_gpu: FindGpu | None) -> dict[YamlPath, GpuFacts]:
    """Check all nodes; return the catalogue's answer for every GPU that names a model, by its path."""
    nodes = references.shape.nodes
    references.check_unique(((("nodes", i, "name"), node.name) for i, node in enumerate(nodes)), "a node")
    references.check_unique(
        ((("nodes", i, "address"), node.address) for i, node in enumerate(nodes)), "a node", what="address"
    )
    gpus = [(("nodes", i, "gpus", j), gpu) for i, node in enumerate(nodes) for j, gpu in enumerate(node.gpus or ())]
    references.check_unique((((*at, "uuid"), gpu.uuid) for at, gpu in gpus), "a GPU", what="UUID")
    for index, node in enumerate(nodes):
        _check_indexes(node, ("nodes", index, "gpus"), references)
    for at, gpu in gpus:
        rule = gpu.yield_to
        if rule is not None and not (rule.programs or rule.users or rule.others):
            references.report_conflict(
                "a GPU yields to nothing that is named", (*at, "yieldTo"), "name `programs`, `users` or `others`"
            )
    if find_gpu is None:
        return {}
    answers = {
        at: look_up(gpu.model, gpu.memory, (*at, "model"), references, find_gpu)
        for at, gpu in gpus
        if gpu.model is not None
    }
    return {at: facts for at, facts in answers.items() if facts is not None}


def _check_indexes(node: NodeShape, at: YamlPath, references: References) -> None:
    seen: dict[int, int] = {}
    for number, gpu in enumerate(node.gpus or ()):
        index = index_of(gpu, number)
        if index in seen:
            references.document.report(
                "cluster.duplicate_name",
                f"GPU {index} of node {node.name!r} is also entry {seen[index]} of this list",
                at=(*at, number, "index"),
                hint="give each GPU its own `index`",
            )
        seen.setdefault(index, number)


def look_up(model: str, memory: int | None, at: YamlPath, references: References, find_gpu: FindGpu) -> GpuFacts | None:
    """Look a model up in the catalogue; an unknown name and one of several models are reported at `at`."""
    try:
        models = find_gpu(model, memory=memory)
    except CorralError as error:
        references.document.report("cluster.unknown_reference", error.what, at=at, hint=error.hint)
        return None
    if not isinstance(models, tuple):
        return models
    candidates = ", ".join(f"`{candidate.name}` ({format_bytes(candidate.memory)})" for candidate in models[:6])
    references.document.report(
        "cluster.ambiguous_reference",
        f"{model!r} is the name of {len(models)} GPU models",
        at=at,
        hint=f"write one of {candidates}",
    )
    return None


_GPU_SLOT = re.compile(r"gpu(\d{1,3})", re.ASCII)
_CPU_SLOT = re.compile(r"cpu\d{0,4}", re.ASCII)


def _check_output_folders(references: References) -> None:
    """Check the folders of outputs, and that those of queues are below them."""
    folders = references.shape.output_folders
    references.check_unique(
        ((("outputFolders", i, "path"), folder.path) for i, folder in enumerate(folders)), "a folder", what="path"
    )
    for index, folder in enumerate(folders):
        if not is_plain_path(folder.path):
            what = f"{folder.path!r} is not an absolute path without `.` and `..`"
            references.report_conflict(what, ("outputFolders", index, "path"), "write it as `/mnt/nas`")
    for index, queue in enumerate(references.shape.queues):
        for problem in check_pattern(queue.outputs, [folder.path for folder in folders]) if queue.outputs else ():
            references.report_conflict(problem.what, ("queues", index, "outputs"), problem.hint or "")


def check_queues(references: References) -> None:
    """Check engines and queues."""
    shape = references.shape
    for name, engine in shape.engines.items():
        references.check_known_key(name, ENGINES, "engine", ("engines", name))
        if engine is not None:
            _check_engine(name, engine, ("engines", name, "instances"), references)
    _check_ports(references)
    references.check_unique(((("queues", i, "name"), queue.name) for i, queue in enumerate(shape.queues)), "a queue")
    _check_output_folders(references)
    for index, queue in enumerate(shape.queues):
        for number, selector in enumerate(queue.pool or ()):
            _check_selector(selector, ("queues", index, "pool", number), references)


def _check_engine(name: str, engine: EngineShape, at: YamlPath, references: References) -> None:
    if engine.instances and name in ENGINES and not ENGINES[name].remote:
        references.report_conflict(
            f"the engine {name!r} runs on this machine and has no instances",
            at,
            f"remove `instances`; only {' and '.join(kind.name for kind in ENGINES.values() if kind.remote)} have them",
        )
    instances = engine.instances
    if engine.lanes is not None:
        _check_lanes(name, (*at[:-1], "lanes"), references)
    references.check_unique((((*at, i, "name"), instance.name) for i, instance in enumerate(instances)), "an instance")
    references.check_unique(
        (((*at, i, "url"), instance.url) for i, instance in enumerate(instances)), "an instance", what="url"
    )
    for index, instance in enumerate(instances):
        here = (*at, index)
        _check_way(name, instance, here, references)
        references.check_known(instance.node, references.nodes, "node", (*here, "node"))
        if instance.gpu is not None and instance.node is None and not references.is_written((*here, "node")):
            references.report_conflict("a GPU is named without its node", (*here, "gpu"), "add `node`")
        if instance.gpu is not None:
            references.check_gpu(instance.node, instance.gpu, (*here, "gpu"))
        if instance.lanes is not None:
            _check_lanes(name, (*here, "lanes"), references)
        if instance.models_folder is not None and name in ENGINES and not ENGINES[name].loads_from_folder:
            what = f"{name!r} keeps its models itself, and not in a folder that others write"
            references.report_conflict(
                what, (*here, "modelsFolder"), f"remove it, and use `corral models pull --on {instance.name}`"
            )


def _check_lanes(engine: str, at: YamlPath, references: References) -> None:
    """Check that an engine can do several tasks at a time."""
    if engine in ENGINES and not ENGINES[engine].has_lanes:
        able = ", ".join(kind.name for kind in ENGINES.values() if kind.has_lanes)
        hint = f"remove `lanes`; engines that can do several at a time: {able}"
        references.report_conflict(f"{engine!r} does one task at a time", at, hint)


def _check_way(engine: str, instance: InstanceShape, at: YamlPath, references: References) -> None:
    """Check that an instance has one of `url` and `run`, and that `run` says what to start."""
    is_run = references.is_written((*at, "run"))
    if is_run and references.is_written((*at, "url")):
        what = f"the instance {instance.name!r} has both `url` and `run`"
        references.report_conflict(
            what, (*at, "run"), "keep `url` for a server that runs anyway, and `run` for one that Corral starts"
        )
    elif not is_run and not references.is_written((*at, "url")) and not _has_unknown_key(InstanceShape, at, references):
        references.document.report(
            "cluster.missing_key",
            f"the instance {instance.name!r} has neither `url` nor `run`",
            at=at,
            hint="add `url`, the address of a server that runs anyway, or `run`, how Corral starts it",
        )
    if instance.url is not None and engine in ENGINES:
        _check_scheme(engine, instance.url, (*at, "url"), references)
    if instance.run is not None:
        _check_run(engine, instance.run, (*at, "run"), references)


def _check_scheme(engine: str, url: str, at: YamlPath, references: References) -> None:
    """Check that an engine reaches its instances in this way."""
    wanted, written = ENGINES[engine].scheme, url.partition(":")[0]
    if wanted is not None and written != wanted:
        references.report_conflict(f"{engine!r} has no servers by {written}", at, "write kueue://NAMESPACE/QUEUE")
    elif wanted is None and not written.startswith("http"):
        references.report_conflict(f"{engine!r} cannot be reached by {written!r}", at, "write http://host:port")


def _check_run(engine: str, run: RunShape, at: YamlPath, references: References) -> None:
    kinds = [kind for kind in RUN_KINDS if references.is_written((*at, kind))]
    if not kinds and not _has_unknown_key(RunShape, at, references):
        what, hint = (
            "`run` does not say what to start",
            "add `preset: NAME`, `command: [program, argument]` or `container: {image: NAME}`",
        )
        references.document.report("cluster.missing_key", what, at=at, hint=hint)
    if len(kinds) > 1:
        what = f"`run` starts several things: {', '.join(f'`{kind}`' for kind in kinds)}"
        references.report_conflict(what, (*at, kinds[-1]), "keep one of them")
    references.check_known(run.preset, list_presets(), "preset", (*at, "preset"))
    if run.preset in list_presets():
        for key, what, hint in find_preset_problems(engine, run):
            references.report_conflict(what, (*at, key), hint)
    for key, what, hint in find_kind_problems(engine, run):
        references.report_conflict(what, (*at, key) if references.is_written((*at, key)) else at, hint)
    if run.always and run.idle is not None:
        what = "a server that always runs is never idle"
        references.report_conflict(what, (*at, "idle"), "keep one of `always` and `idle`")
    _check_env(
        run.env,
        (*at, "env"),
        references,
        shown="does not belong in a file that is not encrypted",
        instead="`envFrom: {{{name}: {name}}}` instead, and set {name} for the Corral server",
    )


def _has_unknown_key(shape: type[Shape], at: YamlPath, references: References) -> bool:
    """Whether a key is there that the shape does not have: reported already, and perhaps the one that is missed."""
    known = {info.alias or name for name, info in shape.model_fields.items()}
    return any(key[:-1] == at and key[-1] not in known for key in references.document.keys)


def _check_ports(references: References) -> None:
    """Check that no two servers that Corral runs are to listen on the same port."""
    ports = [
        (("engines", name, "instances", index, "run", "port"), str(instance.run.port))
        for name, engine in references.shape.engines.items()
        for index, instance in enumerate(engine.instances if engine is not None else ())
        if instance.run is not None and instance.run.port is not None
    ]
    references.check_unique(ports, "a server", what="port")


def _check_selector(selector: str, at: YamlPath, references: References) -> None:
    node, slash, rest = selector.partition("/")
    device, _, slot = rest.partition("/")
    references.check_known(node, references.nodes, "node", at)
    if gpu := _GPU_SLOT.fullmatch(device):
        references.check_gpu(node, int(gpu[1]), at)
    elif slash and not _CPU_SLOT.fullmatch(device):
        references.document.report(
            "cluster.bad_value",
            f"not a slot: {selector[:80]!r}",
            at=at,
            hint="write a node for all of its slots, or `node/gpu0`, or `node/cpu`, or `node/gpu0/comfyui`",
        )
        return
    if "/" in rest:
        _check_slot(slot, at, references)


def _check_slot(slot: str, at: YamlPath, references: References) -> None:
    """Check an engine, and the instance after it: `comfyui/left`."""
    engine, slash, instance = slot.partition("/")
    references.check_known(engine, ENGINES, "engine", at)
    if slash and engine in ENGINES:
        shape = references.shape.engines.get(engine)
        names = [known.name for known in shape.instances] if shape is not None else []
        references.check_known(instance, names, f"instance of {engine}", at)


def check_services(references: References) -> None:
    """Check volumes, services and layouts."""
    shape = references.shape
    references.check_unique(
        ((("storage", i, "name"), volume.name) for i, volume in enumerate(shape.storage)), "a volume"
    )
    references.check_unique(
        ((("services", i, "name"), service.name) for i, service in enumerate(shape.services)), "a service"
    )
    for index, volume in enumerate(shape.storage):
        _check_volume(volume, ("storage", index), references)
    for index, service in enumerate(shape.services):
        _check_service(service, ("services", index), references)
    _check_layouts(references)


def _check_volume(volume: StorageShape, at: YamlPath, references: References) -> None:
    references.check_known(volume.node, references.nodes, "node", (*at, "node"))
    if volume.kind is StorageKind.LOCAL and volume.path and not references.is_written((*at, "node")):
        what = "a local volume with a path is on a node, and none is named"
        references.report_conflict(what, at, "add `node`, or remove `path`: each replica then has a volume of its own")
    if volume.kind is not StorageKind.NFS and volume.server is not None:
        what = f"only an nfs volume has a server; this one is {volume.kind}"
        references.report_conflict(what, (*at, "server"), "remove `server`")
    if volume.kind is StorageKind.EPHEMERAL and (volume.node or volume.path):
        what = "an ephemeral volume is where its service runs, not on a node or path of its own"
        references.report_conflict(what, at, "remove `node` and `path`")
    if volume.kind is StorageKind.NFS and volume.node is not None and volume.server is not None:
        references.report_conflict("the volume has both a node and a server", (*at, "server"), "keep one of them")


def _check_service(service: ServiceShape, at: YamlPath, references: References) -> None:
    for index, engine in enumerate(service.engines):
        references.check_known(engine, SERVICE_ENGINES, "engine", (*at, "engines", index))
    for index, called in enumerate(service.calls):
        references.check_known(called, references.services, "service", (*at, "calls", index))
    references.check_known(service.node, references.nodes, "node", (*at, "node"))
    _check_volumes(service.storage, service.node, (*at, "storage"), references)
    for volume in service.mounts:
        references.check_known_key(volume, references.storage, "storage", (*at, "mounts", volume))
    if service.routes and service.kind is not ServiceKind.LITELLM:
        references.report_conflict("only a service of kind litellm has routes", (*at, "routes"), "add `kind: litellm`")
    _check_env(service.env, (*at, "env"), references)
    memory = service.memory
    if memory and memory.request and memory.limit and memory.request > memory.limit:
        what = f"request {format_bytes(memory.request)} is more than limit {format_bytes(memory.limit)}"
        references.report_conflict(what, (*at, "memory", "request"), "raise `limit` or lower `request`")


_SECRET_INSTEAD = "`secrets: {{{name}: {{secret: <name>, key: <key>}}}}` instead, and make that Secret"


def _check_env(
    env: Mapping[str, str],
    at: YamlPath,
    references: References,
    *,
    shown: str = "would be in every manifest",
    instead: str = _SECRET_INSTEAD,
) -> None:
    """Check that nothing secret is in the file: it is not encrypted, and a service's is in every manifest as well."""
    for name, value in env.items():
        if is_secret(name, value):
            references.document.report(
                "cluster.secret",
                f"{name} looks like a secret, which {shown}",
                at=(*at, name),
                hint=f"write {instead.format(name=name)}",
            )


def _check_volumes(names: Iterable[str], node: str | None, at: YamlPath, references: References) -> None:
    for index, name in enumerate(names):
        references.check_known(name, references.storage, "storage", (*at, index))
        _check_reach(name, node, (*at, index), references)


def _check_reach(name: str, node: str | None, at: YamlPath, references: References) -> None:
    """Check that a service on `node` can use a volume: a local one stays on the disk that it was made on."""
    volume = references.storage.get(name)
    if volume is None or volume.kind is not StorageKind.LOCAL or None in (node, volume.node) or volume.node == node:
        return
    references.report_conflict(
        f"the volume {name!r} is on the disk of {volume.node!r}, and the service runs on {node!r}",
        at,
        f"place the service on `{volume.node}`, or use a volume of `{node}` or an nfs one",
    )


def _check_layouts(references: References) -> None:
    kinds = [kind.value for kind in LayoutKind]
    for name, layout in references.shape.layouts.items():
        at: YamlPath = ("layouts", name)
        if layout.kind is None and name not in kinds and not references.is_written((*at, "kind")):
            references.document.report(
                "cluster.missing_key",
                f"the layout {name!r} has no kind",
                at=at,
                hint="add `kind`: one of " + ", ".join(kinds),
            )
        for service, placement in layout.services.items():
            here = (*at, "services", service)
            references.check_known_key(service, references.services, "service", here)
            _check_placement(references.services.get(service), placement, here, references)


def _check_placement(
    service: ServiceShape | None, placement: PlacementShape, at: YamlPath, references: References
) -> None:
    references.check_known(placement.node, references.nodes, "node", (*at, "node"))
    _check_env(placement.env, (*at, "env"), references)
    node = placement.node or (service.node if service else None)
    if placement.storage is not None:
        _check_volumes(placement.storage, node, (*at, "storage"), references)
    elif placement.node is not None and service is not None:
        for name in service.storage:
            _check_reach(name, node, (*at, "node"), references)
    if placement.gpus and node is None and not references.is_written((*at, "node")):
        references.report_conflict("GPUs are named without their node", (*at, "gpus"), "add `node`")
    for number, index in enumerate(placement.gpus or ()):
        references.check_gpu(node, index, (*at, "gpus", number))


def check_workloads(references: References, find_gpu: FindGpu | None) -> dict[YamlPath, GpuFacts]:
    """Check all workloads; return the catalogue's answer for every GPU model that a duration names, by its path."""
    workloads = references.shape.workloads
    references.check_unique(
        ((("workloads", i, "name"), workload.name) for i, workload in enumerate(workloads)), "a workload"
    )
    answers: dict[YamlPath, GpuFacts] = {}
    for index, workload in enumerate(workloads):
        at: YamlPath = ("workloads", index)
        references.check_known(workload.engine, SERVICE_ENGINES, "engine", (*at, "engine"))
        references.check_known(workload.service, references.services, "service", (*at, "service"))
        references.check_known(workload.node, references.nodes, "node", (*at, "node"))
        references.check_known(workload.prefer_node, references.nodes, "node", (*at, "preferNode"))
        if workload.node is not None and workload.prefer_node not in (None, workload.node):
            what = f"it must run on node `{workload.node}` and prefers `{workload.prefer_node}`"
            references.report_conflict(what, (*at, "preferNode"), "leave one of the two out")
        for model in workload.durations if find_gpu else ():
            here = (*at, "durations", model)
            if find_gpu and (facts := look_up(model, None, here, references, find_gpu)):
                answers[here] = facts
    return answers
