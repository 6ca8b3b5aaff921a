"""How pods get their GPUs: by count from the device plugin, or by claim; one way for a cluster and all its layouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from corral.cluster.values import Cluster, Gpu, GpuMode, Layout, Node, Placement, Service
from corral.hardware.makers import NVIDIA, find_maker
from corral.rendering.makers import runs_nixos
from corral.rendering.places import Places


def choose_gpu_mode(cluster: Cluster, places: Iterable[Places] = ()) -> GpuMode:
    """Choose how pods get GPUs: as the file says, else by claim where only a claim can do it.

    Of the nodes of this Kubernetes alone. A claim is needed where a layout lets two services of a pod share a GPU; else
    where a service needs one of several models of a node, and where the plan shares one of several GPUs of a node:
    slices of the device plugin are of any GPU. On NixOS the latter two are left to the device plugin, since NVIDIA's
    driver for claims does not find its libraries there (the notes of a layout say what it cannot do). It is one way for
    the whole cluster and for all layouts: the driver refuses to be installed next to the device plugin (pitfall A32),
    and a switch of layouts changes no driver.
    """
    gpu_mode = cluster.kubernetes.gpu_mode if cluster.kubernetes else None
    if gpu_mode is not None:
        return gpu_mode
    if any(_shares_gpu(cluster, layout) for layout in cluster.layouts.values()):
        return GpuMode.DRA
    if list_nixos_with_nvidia(cluster):
        return GpuMode.DEVICE_PLUGIN
    needs_claims = any(True for _ in find_choices(cluster)) or any(
        _shares_of_several(cluster, planned) for planned in places
    )
    return GpuMode.DRA if needs_claims else GpuMode.DEVICE_PLUGIN


def list_nixos_with_nvidia(cluster: Cluster) -> list[Node]:
    """List the nodes of this Kubernetes on which NVIDIA's DRA driver finds no libraries.

    Source: `librarySearchPaths` of the driver's gpu-kubelet-plugin; NixOS has no library at any of those places.
    """
    return [node for node in cluster.kubernetes_nodes if runs_nixos(node) and list_gpus_of_maker(node, NVIDIA)]


def find_choices(cluster: Cluster) -> Iterator[tuple[Service, Node]]:
    """Find the services that need one of several models of a node, in any layout, each with the node.

    A service that takes all of a node's GPUs needs no choice, nor does one whose need is known and fits each of them.
    """
    mixed = [node for node in cluster.kubernetes_nodes if is_mixed(node, maker=NVIDIA)]
    for service in cluster.services.values() if mixed else ():
        for node in mixed:
            gpus = list_gpus_of_maker(node, NVIDIA)
            if any(_has_to_choose(service, layout, node, gpus) for layout in [*cluster.layouts.values()] or [None]):
                yield service, node


def _has_to_choose(service: Service, layout: Layout | None, node: Node, gpus: Sequence[Gpu]) -> bool:
    placement = find_placement(layout, service)
    if (placement.node or service.node) not in (None, node.name):
        return False
    count, needed = count_gpus(service, placement), service.gpu_memory
    fits_any = needed is not None and all(gpu.memory is not None and gpu.memory >= needed for gpu in gpus)
    return 0 < count < len(gpus) and (placement.gpus is not None or not fits_any)


def find_placement(layout: Layout | None, service: Service) -> Placement:
    """Find what a layout says of a service; nothing where it does not name it."""
    return layout.services.get(service.name, Placement()) if layout else Placement()


def is_mixed(node: Node, *, maker: str | None = None) -> bool:
    """Whether a node has GPUs of several models, or several of one maker; unknown models count as NVIDIA's."""
    return len({gpu.model for gpu in node.gpus or () if maker in (None, find_maker(gpu) or NVIDIA)}) > 1


def list_gpus_of_maker(node: Node, maker: str) -> list[Gpu]:
    """List the GPUs of a node that are of a maker; those of unknown model are taken for NVIDIA's."""
    return [gpu for gpu in node.gpus or () if (find_maker(gpu) or NVIDIA) == maker]


def _shares_of_several(cluster: Cluster, places: Places) -> bool:
    """Whether a plan shares a GPU of a node with several of NVIDIA's."""
    nodes = cluster.kubernetes_nodes
    several = {node.name for node in nodes if len(list_gpus_of_maker(node, NVIDIA)) > 1}
    nvidia = {(node.name, gpu.index) for node in nodes for gpu in list_gpus_of_maker(node, NVIDIA)}
    return any(
        len(tenants) > 1 and key[0] in several and key in nvidia for key, tenants in places.list_tenants().items()
    )


def _shares_gpu(cluster: Cluster, layout: Layout) -> bool:
    """Whether several services with GPUs are in one pod of a layout."""
    users = [
        placement.pod
        for name, placement in layout.services.items()
        if placement.pod is not None and count_gpus(cluster.services[name], placement)
    ]
    return len(set(users)) < len(users)


def count_gpus(service: Service, placement: Placement) -> int:
    """Count the whole GPUs of each replica: as the file says, else one where it mentions a GPU at all."""
    if service.gpus is not None:
        return service.gpus
    return int(service.gpu_memory is not None or bool(placement.gpus))
