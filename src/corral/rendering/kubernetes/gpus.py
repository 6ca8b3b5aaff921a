"""How the pods of a layout get their GPUs: by count from the device plugin, or by claim (DRA).

A claim is also what lets two containers of one pod share a card; the device plugin cannot (pitfall A08).
"""

from __future__ import annotations

from collections.abc import Sequence

from lightkube.models.core_v1 import PodResourceClaim
from lightkube.models.core_v1 import ResourceClaim as ContainerClaim
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.resource_v1 import (
    CELDeviceSelector,
    DeviceClaim,
    DeviceClassSpec,
    DeviceRequest,
    DeviceSelector,
    ExactDeviceRequest,
    ResourceClaimSpec,
    ResourceClaimTemplateSpec,
)
from lightkube.resources.resource_v1 import DeviceClass, ResourceClaimTemplate

from corral.cluster.values import Gpu, GpuMode, Node
from corral.rendering.cards import product_name
from corral.rendering.installation import Deployed, Installation, is_mixed
from corral.rendering.kubernetes.naming import labels_of, workload_name
from corral.rendering.names import with_suffix

RESOURCE = "nvidia.com/gpu"
DEVICE_CLASS = "corral-gpu"
"""Ours: the chart of NVIDIA's driver installs a class `gpu.nvidia.com`, and an object has one owner."""
CLAIM = "gpus"
_DRIVER = "gpu.nvidia.com"
REPORTED_SHARE = 0.93
"""How much of a card's nominal memory its driver reports at least: an L4 with ECC has 23,034 of 24,576 MiB, a GeForce
99.5 %. Sizes of cards lie further apart than that, so what is asked for is never served by the next smaller card."""


def gpus_of(members: Sequence[Deployed]) -> int:
    """GPUs of each replica of a pod; services that share it share them."""
    return max(one.gpu_count for one in members)


def by_claim(installation: Installation, members: Sequence[Deployed]) -> bool:
    """Tell whether a pod gets its GPUs by claim: all pods of a cluster do, or none."""
    return installation.gpu_mode is GpuMode.DRA and gpus_of(members) > 0


def with_runtime(installation: Installation, members: Sequence[Deployed]) -> bool:
    """Tell whether a pod needs NVIDIA's container runtime: only with the device plugin.

    A claim hands its devices to containerd itself (CDI), and only to the containers that name it.
    """
    return gpus_of(members) > 0 and not by_claim(installation, members)


def pod_claims(members: Sequence[Deployed]) -> list[PodResourceClaim]:
    """What a pod with a claim names."""
    return [PodResourceClaim(name=CLAIM, resourceClaimTemplateName=template_name(members))]


def container_claims() -> list[ContainerClaim]:
    """What each container of such a pod names."""
    return [ContainerClaim(name=CLAIM)]


def template_name(members: Sequence[Deployed]) -> str:
    """The name of a pod's claim template."""
    return with_suffix(workload_name(members[0]), "gpus")


def claim_template(installation: Installation, members: Sequence[Deployed]) -> ResourceClaimTemplate:
    """A claim of as many cards as the pod needs, each of the model and with the memory that its services ask for."""
    name = template_name(members)
    exactly = ExactDeviceRequest(
        deviceClassName=DEVICE_CLASS, count=gpus_of(members), selectors=_selectors(installation, members)
    )
    return ResourceClaimTemplate(
        metadata=ObjectMeta(name=name, namespace=members[0].namespace, labels=labels_of(installation, name)),
        spec=ResourceClaimTemplateSpec(
            spec=ResourceClaimSpec(devices=DeviceClaim(requests=[DeviceRequest(name="gpu", exactly=exactly)]))
        ),
    )


def device_class(installation: Installation) -> DeviceClass:
    """The class of NVIDIA's whole GPUs; which of them is the business of each claim."""
    expression = f"device.driver == '{_DRIVER}' && device.attributes['{_DRIVER}'].type == 'gpu'"
    return DeviceClass(
        metadata=ObjectMeta(name=DEVICE_CLASS, labels=labels_of(installation, DEVICE_CLASS)),
        spec=DeviceClassSpec(selectors=[_cel(expression)]),
    )


def _selectors(installation: Installation, members: Sequence[Deployed]) -> list[DeviceSelector] | None:
    selectors = [*_chosen_cards(installation, members), *_memory(members)]
    return selectors or None


def _chosen_cards(installation: Installation, members: Sequence[Deployed]) -> list[DeviceSelector]:
    """Choose the cards that a layout names: by UUID where the file has it, else by model on a node that mixes them."""
    nodes = {node.name: node for node in installation.cluster.nodes}
    for one in members:
        node = nodes.get(one.node or "")
        if node is None or one.gpus is None:
            continue
        named = [gpu for gpu in node.gpus or () if gpu.index in one.gpus]
        expression = _card_expression(node, named)
        if expression is not None:
            return [_cel(expression)]
    return []


def _card_expression(node: Node, named: list[Gpu]) -> str | None:
    uuids = [gpu.uuid for gpu in named]
    if uuids and None not in uuids:
        listed = ", ".join(f"'{uuid}'" for uuid in uuids)
        return f"device.attributes['{_DRIVER}'].uuid in [{listed}]"
    models = sorted({gpu.model for gpu in named if gpu.model})
    if models and is_mixed(node):
        listed = ", ".join(f"'{product_name(model)}'" for model in models)
        return f"device.attributes['{_DRIVER}'].productName in [{listed}]"
    return None


def _memory(members: Sequence[Deployed]) -> list[DeviceSelector]:
    needed = sum(one.service.gpu_memory or 0 for one in members if one.gpu_count)  # they share the cards of their pod
    if not needed:
        return []
    mebibytes = int(needed * REPORTED_SHARE) // 2**20
    expression = f"device.capacity['{_DRIVER}'].memory.compareTo(quantity('{mebibytes}Mi')) >= 0"
    return [_cel(expression)]


def _cel(expression: str) -> DeviceSelector:
    return DeviceSelector(cel=CELDeviceSelector(expression=expression))
