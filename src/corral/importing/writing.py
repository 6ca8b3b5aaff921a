"""Writes what was imported as a cluster file; what is unknown is a comment at the place where it belongs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from corral.cluster.editing import spelling
from corral.cluster.values import Route, ServiceKind, StorageKind
from corral.cluster.writing import fit_name
from corral.container_images import OLLAMA, find_image, split_reference
from corral.engine_kinds import COMFYUI
from corral.engine_kinds import OLLAMA as OLLAMA_ENGINE
from corral.importing.values import Imported, ImportedService, ImportedVolume, Machine, Origin
from corral.rendering.installation import name_address_variable

LAYOUT = "imported"
_DEFAULT_NAMESPACE = "default"
Plain = spelling.Plain


def write_cluster_file(imported: Imported, *, name: str) -> str:
    """Write the file; it is not checked here, since names of the input can be none that the file takes."""
    lines = [
        "# Written by `corral import`: the comments say what the input leaves open.",
        "apiVersion: corral/v1",
        f"name: {json.dumps(fit_name(name))}",
    ]
    namespace = find_namespace(imported.services)
    if any(service.origin is Origin.KUBERNETES for service in imported.services):
        kubernetes: dict[str, Plain] = {"namespace": namespace}
        if any(machine.k3s_role for machine in imported.machines):
            kubernetes = {"distribution": "k3s", **kubernetes}
        lines += ["", *spelling.write_pair("kubernetes", kubernetes, 0)]
    lines += ["", "nodes:", *(line for machine in imported.machines for line in _write_machine(machine))]
    if imported.volumes:
        lines += ["", "storage:"]
        lines += [line for volume in imported.volumes for line in _write_volume(volume)]
    if imported.services:
        lines += ["", "services:"]
        lines += [line for service in imported.services for line in _write_service(service, imported, namespace)]
        lines += ["", "layouts:", f"  {LAYOUT}:", f"    kind: {_choose_kind(imported)}", "    services:"]
        for service in imported.services:
            lines += spelling.write_pair(service.name, _place(service, imported), 6)
    return "\n".join(lines) + "\n"


def _choose_kind(imported: Imported) -> str:
    """Choose the kind that describes the input best; it changes nothing of what is rendered."""
    nodes = {service.node for service in imported.services if service.gpus}
    has_replicas = any(service.replicas > 1 for service in imported.services if service.gpus)
    return "pool" if has_replicas else "workstation" if len(nodes) > 1 else "edge"


def find_namespace(services: Sequence[ImportedService]) -> str:
    """Find the namespace of most services."""
    counted = Counter(service.namespace for service in services if service.namespace is not None)
    return counted.most_common(1)[0][0] if counted else _DEFAULT_NAMESPACE


def list_calls(service: ImportedService, services: Sequence[ImportedService]) -> dict[str, str]:
    """List the services whose addresses are in a service's variables, each with the variable's name."""
    calls: dict[str, str] = {}
    for name, value in service.env.items():
        for other in services:
            hosts = _list_hosts(other)
            if service.pod is not None and service.pod == other.pod:
                hosts = ["localhost"]
            pattern = rf"https?://(?:{'|'.join(map(re.escape, hosts))}):{other.port}(?:/.*)?"
            if other is not service and other.port is not None and re.fullmatch(pattern, value):
                calls.setdefault(other.name, name)
    return calls


def _list_hosts(service: ImportedService) -> list[str]:
    """List the names under which others reach a service."""
    if service.namespace is None:
        return [service.name]
    whole = f"{service.name}.{service.namespace}"
    return [service.name, whole, f"{whole}.svc", f"{whole}.svc.cluster.local"]


def _write_machine(machine: Machine) -> Iterator[str]:
    fields: dict[str, Plain] = {"name": machine.name}
    optional: dict[str, Plain] = {
        "address": machine.address,
        "os": machine.os,
        "k3sRole": machine.k3s_role.value if machine.k3s_role else None,
        "memory": None if machine.memory is None else spelling.write_size(machine.memory),
    }
    fields |= {key: value for key, value in optional.items() if value is not None}
    first, *rest = spelling.write_item(fields, 2, as_block=True)
    yield f"{first} # left open: the machine's name" if machine.is_assumed else first
    yield from rest
    yield from _write_gpus(machine)
    if machine.labels:
        yield from spelling.write_pair("labels", dict(machine.labels), 4)


def _write_gpus(machine: Machine) -> Iterator[str]:
    if machine.gpus is None:
        yield f"    # left open: gpus, all of which are used here; `--gpu {machine.name}=MODEL,MODEL` names them"
        return
    if not machine.gpus:
        yield "    gpus: [] # none is named or asked for"
        return
    unknown = [gpu for gpu in machine.gpus if gpu.model is None]
    yield "    gpus:" + (f" # models from {machine.source}" if machine.source and not unknown else "")
    for gpu in machine.gpus:
        entry: dict[str, Plain] = {"model": gpu.model, "index": gpu.index, "uuid": gpu.uuid}
        line = spelling.write_flow({key: value for key, value in entry.items() if value is not None})
        yield f"      - {line}" + ("" if gpu.model else f" # left open: model; `--gpu {machine.name}=MODEL` names it")


def _write_volume(volume: ImportedVolume) -> Iterator[str]:
    fields: dict[str, Plain] = {
        "name": volume.name,
        "kind": volume.kind.value,
        "node": volume.node,
        "server": volume.server,
        "path": volume.path,
        "size": None if volume.size is None else spelling.write_size(volume.size),
        "mountOptions": list(volume.mount_options) or None,
    }
    line = spelling.write_flow({key: value for key, value in fields.items() if value is not None})
    comment = " # left open: server, path" if volume.kind is StorageKind.NFS and volume.server is None else ""
    yield f"  - {line}{comment}"


def _write_service(service: ImportedService, imported: Imported, namespace: str) -> Iterator[str]:
    calls = list_calls(service, imported.services)
    derived = {variable for name, variable in calls.items() if _is_derived(service, name, variable, imported)}
    env = {name: value for name, value in service.env.items() if name not in derived}
    memory = {"request": service.memory_request, "limit": service.memory_limit}
    exposed, is_special = service.exposed, service.kind is not ServiceKind.SERVER
    calls = [*dict.fromkeys([*calls, *service.calls])]
    fields: dict[str, Plain] = {
        "name": service.name,
        "kind": ServiceKind.JOB.value if service.is_job else service.kind.value if is_special else None,
        "engines": _list_engines(service) or None,
        "models": list(service.models) or None,
        "image": service.image,
        "port": service.port,
        "replicas": service.replicas if service.replicas != 1 else None,
        "gpus": service.gpus or None,
        "exposed": None
        if exposed is None
        else {"kind": exposed.kind, "port": exposed.port, **({"name": exposed.name} if exposed.name else {})},
        "namespace": service.namespace if service.namespace not in (None, namespace) else None,
        "memory": {key: spelling.write_size(size) for key, size in memory.items() if size is not None} or None,
        "storage": list(service.mounts) or None,
        "mounts": dict(service.mounts) or None,
        "calls": calls or None,
        "routes": [_write_route(route) for route in service.routes] or None,
        "command": list(service.command) or None,
        "healthPath": service.health_path,
        "env": env or None,
        "secrets": {name: {"secret": key.secret, "key": key.key} for name, key in service.secrets.items()} or None,
    }
    yield from spelling.write_item({key: value for key, value in fields.items() if value is not None}, 2, as_block=True)
    if service.image is None and not (is_special or service.engines):
        yield "    # left open: image"


def _write_route(route: Route) -> Plain:
    return {"name": route.name, "model": route.model, **({"keyFrom": route.key_from} if route.key_from else {})}


def _is_derived(service: ImportedService, name: str, variable: str, imported: Imported) -> bool:
    """Whether rendering makes a variable with this address from `calls` by itself."""
    other = next(other for other in imported.services if other.name == name)
    host = "localhost" if service.pod is not None and service.pod == other.pod else name
    return variable == name_address_variable(name) and service.env[variable] == f"http://{host}:{other.port}"


def _list_engines(service: ImportedService) -> list[str]:
    """List the engine that an image is known to hold; its program writes and listens as rendering expects."""
    if service.engines:
        return list(service.engines)
    image = service.image or ""
    if find_image(image) is OLLAMA:
        return [OLLAMA_ENGINE.name]
    return [COMFYUI.name] if COMFYUI.name in split_reference(image)[0].rpartition("/")[2] else []


def _place(service: ImportedService, imported: Imported) -> Mapping[str, Plain]:
    machine = next((machine for machine in imported.machines if machine.name == service.node), None)
    uuids = {gpu.uuid: gpu.index for gpu in (machine.gpus if machine else None) or () if gpu.uuid}
    indexes = [int(id) if id.isdecimal() else uuids.get(id) for id in service.gpu_ids]
    fields: dict[str, Plain] = {
        "node": service.node,
        "gpus": [index for index in indexes if index is not None] or None,
        "pod": service.pod,
        "configMap": service.config_map,
    }
    return {key: value for key, value in fields.items() if value is not None}
