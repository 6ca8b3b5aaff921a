"""Notes on a layout: what is left out or must be done by hand, and why.

They are in the header of its kustomization, and the command prints them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from corral.cluster.values import GpuMode, ServiceKind, StorageKind
from corral.engine_kinds import OLLAMA
from corral.hardware.makers import AMD, INTEL, find_resource
from corral.rendering import programs
from corral.rendering.doors import find_door
from corral.rendering.gpu_modes import find_choices
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import gpus, networking, volumes, workloads
from corral.rendering.kubernetes.config_maps import list_variables
from corral.rendering.maker_notes import list_maker_notes, list_native_notes
from corral.rendering.makers import ACCESS
from corral.rendering.model_pull import explain_misfit
from corral.rendering.nodes import list_wrong_labels
from corral.rendering.programs import image_of, list_image_notes, list_worker_notes
from corral.rendering.sharing import list_sharing_problems


def list_notes(installation: Installation) -> list[str]:
    """The notes on a layout, a sentence each, in the order of the cluster file."""
    notes = list_image_notes({deployed.name: deployed.service for deployed in installation.deployed})
    for deployed in installation.deployed:
        if image_of(deployed.service) is not None:
            notes += [
                *_list_model_notes(installation, deployed),
                *_list_setting_notes(deployed),
                *_list_placement_notes(installation, deployed),
                *_list_access_notes(installation, deployed),
            ]
    return [
        *notes,
        *list_native_notes(installation),
        *_list_volume_notes(installation),
        *_list_gpu_notes(installation),
        *_list_lending_notes(installation),
        *_list_label_notes(installation),
    ]


_INTEL_PLUGIN = "Intel's GPU device plugin (chart intel-device-plugins-gpu, with its operator)"
_PLUGINS: Mapping[str, str] = {
    ACCESS[AMD].resources[0]: "AMD's device plugin (chart amd-gpu of ROCm/k8s-device-plugin)",
    **dict.fromkeys(ACCESS[INTEL].resources, _INTEL_PLUGIN),
}


def _list_model_notes(installation: Installation, deployed: Deployed) -> Iterator[str]:
    for model in deployed.service.models:
        reason = explain_misfit(installation, deployed, model)
        if reason:
            yield f"Not pulled for {deployed.name}: {reason}."
    if OLLAMA.name in deployed.service.engines and deployed.service.models and not deployed.storage:
        yield f"No model is pulled for {deployed.name}, which has no volume to keep them in: name one in its `storage`."


def _list_setting_notes(deployed: Deployed) -> Iterator[str]:
    variables = list_variables(deployed)
    left_out = [repr(name) for name in deployed.env if name not in variables]
    if left_out:
        yield f"{deployed.name}: not a valid name of an environment variable: {', '.join(left_out)}."
    yield from list_worker_notes(deployed.name, deployed.gpu_count, deployed.service.env)
    keys = [
        key
        for name, key in deployed.secrets.items()
        if name not in deployed.service.secrets and key.secret == deployed.name
    ]
    if keys:
        literals = " ".join(f"--from-literal={key.key}=..." for key in keys)
        yield (
            f"{deployed.name} takes its keys from a Secret; make it with: "
            f"kubectl create secret generic {keys[0].secret} --namespace {deployed.namespace} {literals}"
        )


def _list_placement_notes(installation: Installation, deployed: Deployed) -> Iterator[str]:
    """GPUs that a service cannot get, and data that does not last."""
    node = next((node for node in installation.cluster.nodes if node.name == deployed.node), None)
    count = None if node is None or node.gpus is None else len(node.gpus)
    needed = deployed.gpu_count * deployed.replicas
    if count is not None and needed > count:
        yield f"{deployed.name} asks for {needed} GPUs of {deployed.node}, which has {count}."
    yield from list_maker_notes(installation, deployed)
    alike = [] if node is None else [gpu for gpu in node.gpus or () if find_resource((gpu,)) == deployed.gpu_resource]
    if installation.gpu_mode is GpuMode.DEVICE_PLUGIN:
        mixed = [
            node.name for service, node in find_choices(installation.cluster) if service.name == deployed.service.name
        ]
        is_named = deployed.gpus is not None and len(deployed.gpus) < len(alike)
        where = deployed.node if is_named else " or ".join(name for name in mixed if deployed.node in (None, name))
        if where:
            yield f"{deployed.name} can get any GPU of {where}: the device plugin does not choose between them."
    on_nfs = [storage.name for storage in deployed.storage if storage.kind is StorageKind.NFS]
    if on_nfs and programs.is_database(installation.cluster, deployed.service, deployed.env):
        yield (
            f"{deployed.name} keeps a PostgreSQL on the NFS volume {on_nfs[0]}, which it refuses if the export changes "
            "owners (all_squash): give it a local volume."
        )
    if volumes.lacks_data_volume(deployed):
        yield f"{deployed.name} has no volume: its data is lost with its pod."


def _list_access_notes(installation: Installation, deployed: Deployed) -> Iterator[str]:
    exposed = deployed.service.exposed
    if deployed.service.kind is ServiceKind.CORRAL:
        yield (
            f"{deployed.name} requires a token of every client; make one with: kubectl exec "
            f"--namespace {deployed.namespace} deploy/{deployed.name} -- "
            "corral tokens create NAME --data-dir /var/lib/corral"
        )
    yield from _list_door_notes(installation, deployed)
    # One note at most for an exposed service: the first reason makes the others irrelevant.
    if exposed is not None and deployed.port is None:
        yield f"{deployed.name} cannot be reached from outside: the file names no port."
    elif networking.leads_to_door(installation, deployed):
        return
    elif networking.has_ingress(deployed) and deployed.has_addresses_of_replicas:
        yield f"{deployed.name} has no Ingress: its replicas keep state of their own and need an address each."
    elif _conflicts_with_traefik(installation, deployed):
        yield (
            f"{deployed.name} waits for a port that K3s' own Traefik has: choose another `exposed.port`, expose it as "
            "an ingress, or start servers with --disable=traefik."
        )
    elif exposed is not None and exposed.kind == "nodePort" and networking.find_node_port(deployed) is None:
        yield f"{deployed.name} gets any free port of the nodes: {exposed.port} is not between 30000 and 32767."


def _list_door_notes(installation: Installation, deployed: Deployed) -> Iterator[str]:
    """Engines behind a door that asks for a key, or whose address outside cannot lead to one."""
    door = find_door(installation.cluster, installation.deployed, deployed)
    if door is None:
        return
    setting = f"`gateway.{door.engine}` a port, an `owner` and `allow`"
    callers = [other.name for other in installation.deployed if deployed.service.name in other.service.calls]
    if not door.is_keyless and callers:
        yield (
            f"{', '.join(callers)} reaches {deployed.name} through {door.server.name}, which asks for a key: give "
            f"{setting} for clients without one, or set `direct: true` for {deployed.service.name}."
        )
    if deployed.service.exposed is not None and not door.is_listener:
        yield f"People reach {deployed.name} past the queue: give {setting} to lead them to {door.server.name}."


def _conflicts_with_traefik(installation: Installation, deployed: Deployed) -> bool:
    """Return whether a service wants a port of K3s' load balancer that Traefik, which comes with K3s, already has
    (pitfall D07)."""
    kubernetes = installation.cluster.kubernetes
    exposed = deployed.service.exposed
    if kubernetes is None or kubernetes.distribution != "k3s" or exposed is None or exposed.kind != "loadBalancer":
        return False
    end = exposed.port + (deployed.replicas if deployed.has_addresses_of_replicas else 1)
    return any(port in range(exposed.port, end) for port in networking.TRAEFIK_PORTS)


def _list_volume_notes(installation: Installation) -> Iterator[str]:
    used = {storage.name: storage for deployed in installation.deployed for storage in deployed.storage}
    for storage in used.values():
        if storage.kind is StorageKind.NFS and not volumes.has_place(installation.cluster, storage):
            names = volumes.list_volume_names(installation.cluster, storage)
            yield (
                f"The file gives no place for the volume {storage.name}: its claims wait for a PersistentVolume named "
                f"{' or '.join(names)}."
            )
        if storage.kind is not StorageKind.EPHEMERAL and storage.size is None:
            yield f"The file gives no size for the volume {storage.name}: its claim asks for little."


def _list_lending_notes(installation: Installation) -> Iterator[str]:
    groups = workloads.group_by_pod(installation)
    names = [members[0].name for members in groups if workloads.is_lent(installation, members)]
    if names:
        yield (
            f"GPUs of {', '.join(names)} are lent: Kueue starts each replica, ends it when a Job needs its GPU, and "
            "starts it again after. `lends: false` keeps them."
        )


def _list_label_notes(installation: Installation) -> Iterator[str]:
    for label in list_wrong_labels(installation.cluster):
        computed = "there is none" if label.computed is None else f"it is {label.computed!r}"
        yield f"{label.node} gets the label {label.key}={label.written} of the file; by its GPUs, {computed}."


def _list_gpu_notes(installation: Installation) -> Iterator[str]:
    resources = {deployed.gpu_resource or "" for deployed in installation.deployed if deployed.gpu_count}
    if not resources:
        return
    for resource in sorted(resource for resource in resources if resource in _PLUGINS):
        yield f"{resource} is given out by {_PLUGINS[resource]}: install it."
    yield from (f"{problem}." for problem in list_sharing_problems(installation))
    if gpus.RESOURCE not in resources:
        return
    if installation.gpu_mode is GpuMode.DRA:
        yield ("GPUs are allocated by DRA claim: install NVIDIA's DRA driver (kubernetes/helm), not the device plugin.")
    else:
        yield "GPUs are allocated by count: install NVIDIA's device plugin (kubernetes/helm)."
    yield from gpus.list_driver_notes(installation)
