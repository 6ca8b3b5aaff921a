"""GPUs of pods: by count from a maker's device plugin, or by claim (DRA); and the values of charts for either.

Two containers of one pod can share a GPU by claim; with the device plugin they cannot (pitfall A08). Pods that the plan
puts on one GPU share a claim, or have slices of the only GPU of a node (`sharing`). Of charts, only values that differ
from their own are rendered. NVIDIA's look for the node label `nvidia.com/gpu.present`, which the patches of nodes set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightkube.models.core_v1 import PodResourceClaim
from lightkube.models.core_v1 import ResourceClaim as ContainerClaim
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
from lightkube.resources.resource_v1 import DeviceClass, ResourceClaim, ResourceClaimTemplate

from corral.cluster.values import Gpu, GpuMode, Node
from corral.hardware.makers import INTEL, NVIDIA
from corral.rendering import sharing
from corral.rendering.documents import Json, write_document
from corral.rendering.gpu_modes import find_choices, is_mixed, list_nixos_with_nvidia
from corral.rendering.gpus import list_nvidia_gpus, product_name
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes.objects import make_metadata, name_workload
from corral.rendering.names import add_suffix, dns_name

RESOURCE = "nvidia.com/gpu"
DEVICE_CLASS = "corral-gpu"
"""Ours: the chart of NVIDIA's driver installs a class `gpu.nvidia.com`, and an object has one owner."""
RUNTIME_CLASS = "nvidia"
_CLAIM = "gpus"
_DRIVER = "gpu.nvidia.com"
_REPORTED_SHARE = 0.93
"""The part of a GPU's nominal memory that its driver reports at least: an L4 with ECC has 23,034 of 24,576 MiB, a
GeForce 99.5 %. Sizes of GPUs differ by more, so that the next smaller GPU never serves a claim."""
_CHARTS = "kubernetes/helm"


def count_gpus(members: Sequence[Deployed]) -> int:
    """GPUs of each replica of a pod; its services share them."""
    return max(member.gpu_count for member in members)


def name_resource(members: Sequence[Deployed]) -> str | None:
    """Name the resource of a pod's GPUs; None without any, or where no plugin gives them out."""
    return next((member.gpu_resource for member in members if member.gpu_count), None)


def gets_gpus_by_claim(installation: Installation, members: Sequence[Deployed]) -> bool:
    """Return whether a pod gets its GPUs by claim: all pods of a cluster with NVIDIA's GPUs do, or none."""
    return installation.gpu_mode is GpuMode.DRA and name_resource(members) == RESOURCE


def needs_runtime(installation: Installation, members: Sequence[Deployed]) -> bool:
    """Return whether a pod needs NVIDIA's container runtime: only for NVIDIA's GPUs, with the device plugin.

    A claim hands its devices to containerd itself (CDI), and only to the containers that name it.
    """
    return name_resource(members) == RESOURCE and not gets_gpus_by_claim(installation, members)


def list_pod_claims(installation: Installation, members: Sequence[Deployed]) -> list[PodResourceClaim]:
    """The claims of a pod that gets its GPUs by claim: its own, or the one that it shares."""
    shared = sharing.find_shared_gpu(installation, members)
    if shared is not None:
        return [PodResourceClaim(name=_CLAIM, resourceClaimName=_name_shared(shared))]
    return [PodResourceClaim(name=_CLAIM, resourceClaimTemplateName=_name_template(members))]


def list_container_claims() -> list[ContainerClaim]:
    """The claims of each container with GPUs in such a pod."""
    return [ContainerClaim(name=_CLAIM)]


def build_claim_templates(installation: Installation, members: Sequence[Deployed]) -> list[ResourceClaimTemplate]:
    """A claim of as many GPUs as a pod needs, with the model and the memory that its services ask for.

    Empty for pods that get their GPUs otherwise, or have none.
    """
    if not gets_gpus_by_claim(installation, members) or sharing.find_shared_gpu(installation, members):
        return []
    exactly = ExactDeviceRequest(
        deviceClassName=DEVICE_CLASS, count=count_gpus(members), selectors=_list_selectors(installation, members)
    )
    return [
        ResourceClaimTemplate(
            metadata=make_metadata(installation, _name_template(members), members[0].namespace),
            spec=ResourceClaimTemplateSpec(
                spec=ResourceClaimSpec(devices=DeviceClaim(requests=[DeviceRequest(name="gpu", exactly=exactly)]))
            ),
        )
    ]


def build_shared_claims(installation: Installation, groups: Sequence[Sequence[Deployed]]) -> list[ResourceClaim]:
    """The claims of GPUs that several pods share, once for each GPU and namespace."""
    claims: dict[tuple[str, str, int], ResourceClaim] = {}
    for members in groups:
        shared = sharing.find_shared_gpu(installation, members)
        if shared is None or not gets_gpus_by_claim(installation, members):
            continue
        node = next(node for node in installation.cluster.nodes if node.name == shared[0])
        named = [gpu for gpu in node.gpus or () if gpu.index == shared[1]]
        expression = _express_gpus(node, named)
        exactly = ExactDeviceRequest(
            deviceClassName=DEVICE_CLASS, count=1, selectors=[_build_selector(expression)] if expression else None
        )
        namespace = members[0].namespace
        claims[namespace, *shared] = ResourceClaim(
            metadata=make_metadata(installation, _name_shared(shared), namespace),
            spec=ResourceClaimSpec(devices=DeviceClaim(requests=[DeviceRequest(name="gpu", exactly=exactly)])),
        )
    return list(claims.values())


def _name_shared(gpu: tuple[str, int]) -> str:
    return add_suffix(dns_name(gpu[0]), f"gpu{gpu[1]}")


def build_device_class(installation: Installation) -> DeviceClass:
    """The class of NVIDIA's whole GPUs; each claim selects among them."""
    expression = f"device.driver == '{_DRIVER}' && device.attributes['{_DRIVER}'].type == 'gpu'"
    return DeviceClass(
        metadata=make_metadata(installation, DEVICE_CLASS),
        spec=DeviceClassSpec(selectors=[_build_selector(expression)]),
    )


def render_chart_values(installation: Installation, layouts: Sequence[Installation]) -> Mapping[str, str]:
    """Render the values of the charts that bring GPUs to Kubernetes; texts by path.

    Of NVIDIA's, that is the DRA driver or the device plugin, never both, and neither for a cluster without its GPUs.
    """
    intel = _render_intel_values(installation, layouts)
    if not any(node.gpus is None or list_nvidia_gpus(node) for node in installation.cluster.kubernetes_nodes):
        return intel
    if installation.gpu_mode is GpuMode.DRA:
        return {**_render_dra_values(installation), **intel}
    return {**_render_device_plugin_values(installation, layouts), **intel}


def list_driver_notes(installation: Installation) -> list[str]:
    """Nodes on which the DRA driver does not find the GPUs, where claims are used or only claims would choose."""
    nodes = ", ".join(node.name for node in list_nixos_with_nvidia(installation.cluster))
    if not nodes:
        return []
    what = (
        f"NVIDIA's DRA driver was not tried on NixOS ({nodes}), and looks for the driver's libraries where NixOS has "
        "none"
    )
    if installation.gpu_mode is GpuMode.DRA:
        return [f"{what}; `kubernetes.gpuMode: devicePlugin` does without, and cannot choose between GPUs of a node."]
    if next(find_choices(installation.cluster), None) is None:
        return []
    return [f"Only claims choose between GPUs of a node (`kubernetes.gpuMode: dra`). {what}."]


def _render_intel_values(installation: Installation, layouts: Sequence[Installation]) -> Mapping[str, str]:
    """Render the number of pods that share a GPU of Intel's; nothing where none is shared."""
    sharers = sharing.count_sharers(layouts, INTEL)
    if sharers < 2:
        return {}
    note = "Values of Intel's chart intel-device-plugins-gpu: so many pods share each of its GPUs."
    return {f"{_CHARTS}/intel-device-plugins-gpu.yaml": write_document(installation, {"sharedDevNum": sharers}, note)}


def find_chart_values(installation: Installation, layouts: Sequence[Installation]) -> dict[str, Json]:
    """Find the values of NVIDIA's chart that differ from its own: of the DRA driver, or of the device plugin."""
    if installation.gpu_mode is GpuMode.DRA:
        return {
            # The chart refuses to serve GPUs until this confirms that no device plugin does (pitfall A32).
            "gpuResourcesEnabledOverride": True,
            "resources": {"gpus": {"enabled": True}, "computeDomains": {"enabled": False}},
        }
    # On K3s the plugin itself needs NVIDIA's runtime to see the GPUs (pitfall A16).
    values: dict[str, Json] = {"runtimeClassName": RUNTIME_CLASS}
    slices = sharing.count_slices(layouts, RESOURCE)
    if slices:
        configs = {sharing.name_slices(count): sharing.write_slices(count) for count in sorted({*slices.values()})}
        values["config"] = {"map": {"default": "version: v1\n"} | configs, "default": "default"}
    return values


def _render_dra_values(installation: Installation) -> Mapping[str, str]:
    notes = (
        "Values of NVIDIA's chart dra-driver-nvidia-gpu (kubernetes-sigs), for Kubernetes 1.34 and later.",
        "Uninstall the device plugin first: two that hand out the same GPUs collide.",
        *list_driver_notes(installation),
    )
    values = find_chart_values(installation, ())
    return {f"{_CHARTS}/dra-driver-nvidia-gpu.yaml": write_document(installation, values, *notes)}


def _render_device_plugin_values(installation: Installation, layouts: Sequence[Installation]) -> Mapping[str, str]:
    notes = ["Values of NVIDIA's chart nvidia-device-plugin."]
    slices = sharing.count_slices(layouts, RESOURCE)
    if slices:
        nodes = ", ".join(f"{node} into {count}" for node, count in slices.items())
        notes.append(
            f"Time slices share a GPU between pods, as the plan does: {nodes}. Each node's label {sharing.LABEL} names "
            "its configuration. Nothing holds a pod to its part of the memory (pitfall A14)."
        )
    values = find_chart_values(installation, layouts)
    return {f"{_CHARTS}/nvidia-device-plugin.yaml": write_document(installation, values, *notes)}


def _name_template(members: Sequence[Deployed]) -> str:
    return add_suffix(name_workload(members[0]), "gpus")


def _list_selectors(installation: Installation, members: Sequence[Deployed]) -> list[DeviceSelector] | None:
    return [*_select_named_gpus(installation, members), *_select_memory(members)] or None


def _select_named_gpus(installation: Installation, members: Sequence[Deployed]) -> list[DeviceSelector]:
    """Select the GPUs that a layout names: by UUID if the cluster file has it, else by model on a mixed node."""
    nodes = {node.name: node for node in installation.cluster.nodes}
    for member in members:
        node = nodes.get(member.node or "")
        if node is None or member.gpus is None:
            continue
        named = [gpu for gpu in node.gpus or () if gpu.index in member.gpus]
        expression = _express_gpus(node, named)
        if expression is not None:
            return [_build_selector(expression)]
    return []


def _express_gpus(node: Node, named: Sequence[Gpu]) -> str | None:
    uuids = [gpu.uuid for gpu in named]
    if uuids and None not in uuids:
        listed = ", ".join(f"'{uuid}'" for uuid in uuids)
        return f"device.attributes['{_DRIVER}'].uuid in [{listed}]"
    models = sorted({gpu.model for gpu in named if gpu.model})
    if models and is_mixed(node, maker=NVIDIA):
        listed = ", ".join(f"'{product_name(model)}'" for model in models)
        return f"device.attributes['{_DRIVER}'].productName in [{listed}]"
    return None


def _select_memory(members: Sequence[Deployed]) -> list[DeviceSelector]:
    # The sum: services of a pod share its GPUs.
    needed = sum(member.service.gpu_memory or 0 for member in members if member.gpu_count)
    if not needed:
        return []
    mebibytes = int(needed * _REPORTED_SHARE) // 2**20
    expression = f"device.capacity['{_DRIVER}'].memory.compareTo(quantity('{mebibytes}Mi')) >= 0"
    return [_build_selector(expression)]


def _build_selector(expression: str) -> DeviceSelector:
    return DeviceSelector(cel=CELDeviceSelector(expression=expression))
