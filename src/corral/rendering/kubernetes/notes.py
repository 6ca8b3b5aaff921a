"""What is left out of a layout, or is up to people, and why: its kustomization's header says it, and the command."""

from __future__ import annotations

from collections.abc import Iterator

from corral.cluster.values import GpuMode, ServiceKind, StorageKind
from corral.rendering import databases
from corral.rendering.cards import nvidia_cards
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import drivers, networking, volumes
from corral.rendering.kubernetes.containers import variables
from corral.rendering.models import why_not
from corral.rendering.programs import image_of
from corral.rendering.settings import worker_notes


def notes_of(installation: Installation) -> list[str]:
    """One sentence each, in the order of the file."""
    without_image = [one.name for one in installation.deployed if image_of(one.service) is None]
    notes = [f"Not deployed, because the file names no image: {', '.join(without_image)}."] if without_image else []
    for one in installation.deployed:
        if image_of(one.service) is not None:
            notes += [*_of_models(installation, one), *_of_settings(one), *_of_place(installation, one)]
            notes += _of_access(installation, one)
    return [*notes, *_of_volumes(installation), *_of_gpus(installation)]


def _of_models(installation: Installation, one: Deployed) -> Iterator[str]:
    for model in one.service.models:
        reason = why_not(installation, one, model)
        if reason:
            yield f"Not pulled for {one.name}: {reason}."
    if "ollama" in one.service.engines and one.service.models and not one.storage:
        yield f"No model is pulled for {one.name}, which has no volume to keep them in: name one in its `storage`."


def _of_settings(one: Deployed) -> Iterator[str]:
    left_out = [name for name in one.env if name not in variables(one)]
    if left_out:
        yield f"{one.name}: no environment variable can be called {', '.join(repr(name) for name in left_out)}."
    yield from worker_notes(one.name, one.gpu_count, one.service.env)
    usual = [key for name, key in one.secrets.items() if name not in one.service.secrets and key.secret == one.name]
    if usual:
        keys = " ".join(f"--from-literal={key.key}=..." for key in usual)
        yield (
            f"{one.name} takes its keys from a Secret; make it with: "
            f"kubectl create secret generic {usual[0].secret} --namespace {one.namespace} {keys}"
        )


def _of_place(installation: Installation, one: Deployed) -> Iterator[str]:
    """Cards that cannot be had, and data that does not last."""
    node = next((node for node in installation.cluster.nodes if node.name == one.node), None)
    cards = None if node is None or node.gpus is None else len(node.gpus)
    if cards is not None and one.gpu_count * one.replicas > cards:
        yield f"{one.name} asks for {one.gpu_count * one.replicas} GPUs of {one.node}, which has {cards}."
    if cards and one.gpu_count and node is not None and not nvidia_cards(node):
        yield f"{one.name} asks for a GPU of {one.node}, which has none of NVIDIA's: nothing here gives out others."
    chooses = one.gpus is not None and cards is not None and len(one.gpus) < cards
    if chooses and installation.gpu_mode is GpuMode.DEVICE_PLUGIN:
        yield f"{one.name} may get any GPU of {one.node}: the device plugin does not choose between them."
    on_nfs = [storage.name for storage in one.storage if storage.kind is StorageKind.NFS]
    if on_nfs and databases.is_database(installation.cluster, one.service, one.env):
        yield (
            f"{one.name} keeps a PostgreSQL on the NFS volume {on_nfs[0]}, which it refuses where the export changes "
            "owners (all_squash): give it a local one."
        )
    if volumes.is_homeless(one):
        yield f"{one.name} has no volume: its data goes with its pod."


def _of_access(installation: Installation, one: Deployed) -> Iterator[str]:
    exposed = one.service.exposed
    if one.service.kind is ServiceKind.CORRAL:
        yield (
            f"{one.name} asks everybody for a token; make one with: kubectl exec --namespace {one.namespace} "
            f"deploy/{one.name} -- corral tokens create NAME --data-dir /var/lib/corral"
        )
    if exposed is not None and one.port is None:
        yield f"{one.name} cannot be reached from outside: the file names no port."
    elif networking.is_ingress(one) and networking.is_split(one):
        yield f"{one.name} has no Ingress: its replicas keep state of their own, which one address cannot tell apart."
    elif _is_beside_traefik(installation, one):
        yield (
            f"{one.name} waits for a port that K3s' own Traefik has: choose another `exposed.port`, expose it as an "
            "ingress, or start servers with --disable=traefik."
        )
    elif exposed is not None and exposed.kind == "nodePort" and networking.node_port(one) is None:
        yield f"{one.name} gets a port of the nodes by chance: {exposed.port} is not one from 30000 to 32767."


def _is_beside_traefik(installation: Installation, one: Deployed) -> bool:
    """Tell whether K3s' load balancer has given a port away already: to Traefik, which comes with it (pitfall D07)."""
    kubernetes = installation.cluster.kubernetes
    exposed = one.service.exposed
    if kubernetes is None or kubernetes.distribution != "k3s" or exposed is None or exposed.kind != "loadBalancer":
        return False
    last = exposed.port + (one.replicas if one.has_addresses_of_replicas else 1)
    return any(port in range(exposed.port, last) for port in networking.TRAEFIK_PORTS)


def _of_volumes(installation: Installation) -> Iterator[str]:
    used = {storage.name: storage for one in installation.deployed for storage in one.storage}
    for storage in used.values():
        if storage.kind is StorageKind.NFS and not volumes.is_placed(installation.cluster, storage):
            names = volumes.names_of(installation.cluster, storage)
            yield (
                f"Where the volume {storage.name} lies, the file does not say: its claims wait for a PersistentVolume "
                f"called {' or '.join(names)}."
            )
        if storage.kind is not StorageKind.EPHEMERAL and storage.size is None:
            yield f"How large the volume {storage.name} is, the file does not say: its claim asks for little."


def _of_gpus(installation: Installation) -> Iterator[str]:
    if not any(one.gpu_count for one in installation.deployed):
        return
    if installation.gpu_mode is GpuMode.DRA:
        yield "GPUs are given by claim: NVIDIA's DRA driver has to be there (kubernetes/helm), and no device plugin."
        yield from drivers.dra_notes(installation)
    else:
        yield "GPUs are given by count: NVIDIA's device plugin has to be there (kubernetes/helm)."
