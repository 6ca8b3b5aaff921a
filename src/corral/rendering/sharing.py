"""GPUs that a plan gives to several: how Kubernetes shares them, and why it sometimes cannot.

NVIDIA's device plugin shares by time slices, which are of any GPU of a node: they follow a plan only where the node has
one GPU (README of k8s-device-plugin, "Shared Access to GPUs"). A claim (DRA) is of one GPU, and all pods of a namespace
that name it share it (Kubernetes, "Dynamic Resource Allocation"). Intel's plugin has one number of sharers for all
nodes ("sharedDevNum"), and AMD's shares nothing. Containers of Compose share without more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from corral.cluster.values import Cluster, GpuMode
from corral.hardware.makers import INTEL, NVIDIA, find_maker
from corral.rendering.gpu_modes import list_gpus_of_maker
from corral.rendering.installation import Deployed, Installation
from corral.rendering.makers import ACCESS

LABEL = "nvidia.com/device-plugin.config"
"""The label of a node that names its configuration of NVIDIA's device plugin."""


def name_slices(count: int) -> str:
    """Name the configuration of nodes whose GPU is shared by so many."""
    return f"slices-{count}"


def write_slices(count: int) -> str:
    """Write the configuration of NVIDIA's device plugin for so many slices of a GPU."""
    return (
        "version: v1\n"
        "sharing:\n"
        "  timeSlicing:\n"
        "    failRequestsGreaterThanOne: true\n"
        "    resources:\n"
        f"      - name: {ACCESS[NVIDIA].resources[0]}\n"
        f"        replicas: {count}\n"
    )


def count_slices(layouts: Sequence[Installation], resource: str) -> Mapping[str, int]:
    """Count the slices of the GPU of each node that a plan shares, the most of any layout; empty with claims."""
    slices: dict[str, int] = {}
    for installation in layouts:
        if installation.gpu_mode is GpuMode.DRA:
            continue
        for node in installation.cluster.nodes:
            gpus = list_gpus_of_maker(node, NVIDIA)
            if len(gpus) != 1 or ACCESS[NVIDIA].resources[0] != resource:
                continue
            tenants = installation.places.list_tenants().get((node.name, gpus[0].index), ())
            if len(tenants) > 1:
                slices[node.name] = max(len(tenants), slices.get(node.name, 0))
    return slices


def count_sharers(layouts: Sequence[Installation], maker: str) -> int:
    """Count the pods on the GPU of a maker that most share; 1 where none is shared."""
    return max(
        (
            len(tenants)
            for installation in layouts
            for (node, index), tenants in installation.places.list_tenants().items()
            if _find_maker(installation.cluster, node, index) == maker
        ),
        default=1,
    )


def find_shared_gpu(installation: Installation, members: Sequence[Deployed]) -> tuple[str, int] | None:
    """Find the GPU that a pod shares with others; None where it shares none, or where no claim can share it."""
    places = {(place.node, place.gpus) for member in members if member.gpu_count for place in member.places}
    if len(places) != 1:
        return None
    ((node, gpus),) = places
    if node is None or len(gpus) != 1:
        return None
    return (node, gpus[0]) if len(installation.places.list_tenants().get((node, gpus[0]), ())) > 1 else None


def list_sharing_problems(installation: Installation) -> list[str]:
    """List the GPUs that the plan shares and Kubernetes cannot share like that, each with what to do."""
    if installation.cluster.kubernetes is None:
        return []
    problems = (
        _explain_unshareable(installation, node, index, tenants)
        for (node, index), tenants in installation.places.list_tenants().items()
        if len(tenants) > 1
    )
    return [problem for problem in problems if problem is not None]


def _explain_unshareable(installation: Installation, node: str, index: int, tenants: Sequence[str]) -> str | None:
    names = " and ".join(dict.fromkeys(tenants))
    what = f"{names} cannot be deployed on Kubernetes as the plan has it: both are on {node}/gpu{index}"
    maker = _find_maker(installation.cluster, node, index)
    if maker == INTEL:
        return None
    if maker != NVIDIA:
        return f"{what}, and {maker}'s plugin gives a GPU to one pod; give one another GPU, or use Compose"
    if installation.gpu_mode is GpuMode.DEVICE_PLUGIN:
        machine = next(known for known in installation.cluster.nodes if known.name == node)
        if len(list_gpus_of_maker(machine, NVIDIA)) == 1:
            return None
        return f"{what}, and slices of the device plugin are of any GPU of a node; set `kubernetes.gpuMode: dra`"
    users = [
        deployed
        for deployed in installation.deployed
        if any(place.node == node and index in place.gpus for place in deployed.places)
    ]
    if len({user.namespace for user in users}) > 1:
        return f"{what}, and a claim is of one namespace; put them into one"
    scattered = [user.name for user in users if len({(place.node, place.gpus) for place in user.places}) > 1]
    if scattered:
        return f"{what}, and replicas of {scattered[0]} are on other GPUs, which one claim is not for; pin each service"
    return None


def _find_maker(cluster: Cluster, node: str, index: int) -> str:
    gpus = (gpu for known in cluster.nodes if known.name == node for gpu in known.gpus or () if gpu.index == index)
    return next((find_maker(gpu) or NVIDIA for gpu in gpus), NVIDIA)
