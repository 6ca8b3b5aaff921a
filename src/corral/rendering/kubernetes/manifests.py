"""Manifests: a kustomize base with the objects that layouts share, and an overlay for each layout.

`kubectl apply --kustomize kubernetes/overlays/<layout>` applies a layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightkube.models.core_v1 import ResourceQuotaSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, ResourceQuota
from lightkube.resources.node_v1 import RuntimeClass
from lightkube.resources.scheduling_v1 import PriorityClass

from corral.cluster.values import Cluster, GpuMode, Storage
from corral.hardware.makers import find_resource
from corral.rendering import sharing
from corral.rendering.documents import write_document
from corral.rendering.gpu_modes import find_choices, is_mixed
from corral.rendering.gpus import list_nvidia_gpus
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import (
    access,
    config_maps,
    contradictions,
    gpus,
    networking,
    security,
    volumes,
    workloads,
)
from corral.rendering.kubernetes.notes import list_notes
from corral.rendering.kubernetes.objects import (
    BATCH,
    SERVING,
    make_labels,
    make_metadata,
    name_workload,
    render_kustomization,
    render_objects,
)
from corral.rendering.nodes import make_node_labels

_SERVING_VALUE = 100_000
_BATCH_VALUE = 1_000
"""Far apart and above 0, the priority of pods without a class, so that neither is evicted by chance (pitfall A23)."""
_JOB_NOTE = "A template: copy it under a name of its own, then unsuspend it or let Kueue do so."
Objects = list[Any]  # typed objects of lightkube, of many kinds


def render_manifests(installations: tuple[Installation, ...]) -> dict[str, str]:
    """Render the base, and an overlay for each layout; texts by path. Raises: ContradictionError."""
    files = dict(render_base(installations))
    for installation in installations:
        files |= render_overlay(installation)
    return files


def render_base(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render the objects that all layouts share, labels of nodes, and values for NVIDIA's chart; texts by path."""
    installation = installations[0]
    namespaces = sorted(
        {deployed.namespace for layout in installations for deployed in layout.deployed} | {installation.namespace}
    )
    storage = _list_used_storage(installations)
    slices = sharing.count_slices(installations, gpus.RESOURCE)
    parts: dict[str, Objects] = {
        "namespaces": [*_build_namespaces(installation, installations, namespaces)],
        "priority-classes": [*_build_priority_classes(installation)],
        "quotas": [*_build_quotas(installation, installations, namespaces)],
        "network-policies": [*networking.build_namespace_policies(installation, namespaces)],
        "storage-class": [*volumes.build_storage_classes(installation, storage)],
        "volumes": [*volumes.build_persistent_volumes(installation, storage)],
        "runtime-class": [*_build_runtime_classes(installation)],
        "device-class": [gpus.build_device_class(installation)] if installation.gpu_mode is GpuMode.DRA else [],
    }
    files = {
        f"kubernetes/base/{name}.yaml": render_objects(installation, objects)
        for name, objects in parts.items()
        if objects
    }
    resources = [f"{name}.yaml" for name in parts if parts[name]]
    files["kubernetes/base/kustomization.yaml"] = render_kustomization(installation, resources)
    return {
        **files,
        **_render_node_patches(installation, slices),
        **gpus.render_chart_values(installation, installations),
    }


def render_overlay(installation: Installation) -> Mapping[str, str]:
    """Render a layout: a file for each workload, and its Jobs as templates; texts by path.

    Raises: ContradictionError.
    """
    folder = f"kubernetes/overlays/{installation.name}"
    groups = workloads.group_by_pod(installation)
    jobs = workloads.list_jobs(installation)
    # Rendered once: the ConfigMap, the digest, the mounts and the command of a container all follow from its files.
    program_files = config_maps.render_program_files(installation)
    objects = [_build_workload(installation, members, program_files) for members in groups]
    claims = _build_claims(installation, [*(member for members in groups for member in members), *jobs])
    shared = gpus.build_shared_claims(installation, groups)
    # The typed objects are checked before any is rendered, so that a refusal reports every problem of the layout.
    contradictions.check_layout(
        installation,
        [*groups, *((job,) for job in jobs)],
        [*claims, *shared, *(item for parts in objects for item in parts)],
    )
    # In the order in which they are applied: what a workload names is there before it.
    files: dict[str, str] = {}
    if claims:
        files[f"{folder}/claims.yaml"] = render_objects(installation, claims)
    if shared:
        files[f"{folder}/shared-gpus.yaml"] = render_objects(installation, shared)
    files |= {
        f"{folder}/{_name_file(members)}": render_objects(installation, parts, *_list_exceptions(installation, members))
        for members, parts in zip(groups, objects, strict=True)
    }
    names = [path.rpartition("/")[2] for path in files]
    files[f"{folder}/kustomization.yaml"] = render_kustomization(
        installation, ["../../base", *names], *list_notes(installation)
    )
    return files | _render_jobs(installation, jobs, program_files)


def _render_node_patches(installation: Installation, slices: Mapping[str, int]) -> dict[str, str]:
    """Render a patch for each node that has labels to set or to remove (`null`).

    A flag of K3s adds and changes labels at each start and never removes one (pitfall F02); these patches do.
    """
    files: dict[str, str] = {}
    for node in installation.cluster.kubernetes_nodes:
        labels: dict[str, str | None] = {**make_node_labels(installation.cluster, node)}
        if node.name in slices:
            labels[sharing.LABEL] = sharing.name_slices(slices[node.name])
        labels |= {key: None for key in node.removed_labels if key not in labels}
        if labels:
            path = f"kubernetes/nodes/{node.name}.yaml"
            note = f"Apply it with: kubectl patch node {node.name} --patch-file {path}"
            files[path] = write_document(installation, {"metadata": {"labels": labels}}, note)
    return files


def _render_jobs(
    installation: Installation, jobs: Iterable[Deployed], program_files: config_maps.ProgramFiles
) -> dict[str, str]:
    """Render each Job with all its objects except volumes, which are in its layout."""
    return {
        f"kubernetes/jobs/{installation.name}/{name_workload(job)}.yaml": render_objects(
            installation,
            [
                workloads.build_service_account(installation, job),
                *config_maps.build_config_maps(installation, (job,), program_files),
                *gpus.build_claim_templates(installation, (job,)),
                workloads.build_job(installation, job, program_files),
            ],
            _JOB_NOTE,
            *_list_exceptions(installation, (job,)),
        )
        for job in jobs
    }


def _build_workload(
    installation: Installation, members: tuple[Deployed, ...], program_files: config_maps.ProgramFiles
) -> Objects:
    """All objects of one workload."""
    return [
        workloads.build_service_account(installation, members[0]),
        *access.build_access(installation, members, _list_on_demand(installation, program_files)),
        *config_maps.build_config_maps(installation, members, program_files),
        *gpus.build_claim_templates(installation, members),
        *workloads.build_workloads(installation, members, program_files),
        *networking.build_services(installation, members),
        *networking.build_ingresses(installation, members),
        *networking.build_workload_policies(installation, members),
        *workloads.build_disruption_budgets(installation, members),
    ]


def _list_on_demand(installation: Installation, program_files: config_maps.ProgramFiles) -> Objects:
    """The workloads that Corral's own server starts when their turn comes."""
    driven = {deployed.service.name for deployed in access.list_engine_services(installation)}
    return [
        workload
        for members in workloads.group_by_pod(installation)
        if workloads.count_replicas(members) == 0 and not driven.isdisjoint(member.service.name for member in members)
        for workload in workloads.build_workloads(installation, members, program_files)
    ]


def _name_file(members: Sequence[Deployed]) -> str:
    """Name the file of a workload; some names are taken by other files."""
    name = name_workload(members[0])
    return f"{name}-workload.yaml" if name in ("claims", "kustomization", "shared-gpus") else f"{name}.yaml"


def _list_exceptions(installation: Installation, members: Sequence[Deployed]) -> list[str]:
    """Exceptions from rules of our linter, where the cluster file asks for what they report, or nothing else works."""
    exposed = [member.service.name for member in members if member.service.exposed]
    exceptions = [f"corral: ignore-file D11 because the cluster file exposes {', '.join(exposed)}"] if exposed else []
    bound = volumes.find_node(members)
    is_mixed_node = any(node.name == bound and is_mixed(node) for node in installation.cluster.kubernetes_nodes)
    if installation.gpu_mode is GpuMode.DEVICE_PLUGIN and is_mixed_node and gpus.count_gpus(members):
        names = {member.service.name for member in members}
        chooses = any(service.name in names for service, _ in find_choices(installation.cluster))
        why = (
            "it gets them without claims, see the notes of its kustomization" if chooses else "any of its GPUs will do"
        )
        exceptions.append(f"corral: ignore-file A11 because {why}")
    return exceptions


def _list_used_storage(installations: Sequence[Installation]) -> list[Storage]:
    """Volumes that any layout uses, in the order of the file."""
    used = {storage.name for layout in installations for deployed in layout.deployed for storage in deployed.storage}
    return [storage for name, storage in installations[0].cluster.storage.items() if name in used]


def _build_claims(installation: Installation, users: Sequence[Deployed]) -> Objects:
    """Claims of the volumes that a layout uses, each in the namespaces of its users.

    Of a volume for each replica, a StatefulSet makes the claims; a replica that is a workload of its own has one.
    """
    claims: Objects = []
    groups = {members[0].service.name: members for members in workloads.group_by_pod(installation)}
    lent = [members[0] for members in groups.values() if workloads.is_lent(installation, members)]
    own = {
        member.service.name
        for members in groups.values()
        if workloads.is_stateful(installation, members) or workloads.is_lent(installation, members)
        for member in members
    }
    for storage in _list_used_storage((installation,)):
        of_replicas = volumes.is_of_replicas(storage)
        sharing = [user for user in users if storage in user.storage and not (of_replicas and user.service.name in own)]
        claims += volumes.build_claims(installation, storage, sorted({user.namespace for user in sharing}))
    for deployed in lent:
        for replica in range(deployed.replicas):
            claims += volumes.build_replica_claims(installation, deployed, replica)
    return claims


def _build_namespaces(
    installation: Installation, layouts: Sequence[Installation], names: Iterable[str]
) -> list[Namespace]:
    """Namespaces that refuse privileged pods, and warn of those that hold to less than all pods of the layouts do."""
    pods = [
        members
        for layout in layouts
        for members in [*workloads.group_by_pod(layout), *((job,) for job in workloads.list_jobs(layout))]
    ]
    return [
        Namespace(
            metadata=ObjectMeta(
                name=name,
                labels=make_labels(installation, name)
                | {
                    "pod-security.kubernetes.io/enforce": security.BASELINE,
                    "pod-security.kubernetes.io/warn": security.find_profile(
                        members for members in pods if members[0].namespace == name
                    ),
                },
            )
        )
        for name in names
    ]


def _build_priority_classes(installation: Installation) -> list[PriorityClass]:
    """Services come before work that can wait; batch work never evicts."""
    return [
        PriorityClass(
            metadata=make_metadata(installation, SERVING),
            value=_SERVING_VALUE,
            description="Services that people wait for.",
        ),
        PriorityClass(
            metadata=make_metadata(installation, BATCH),
            value=_BATCH_VALUE,
            preemptionPolicy="Never",
            description="Work that can wait for a night.",
        ),
    ]


def _build_quotas(
    installation: Installation, layouts: Sequence[Installation], namespaces: Iterable[str]
) -> list[ResourceQuota]:
    """Limit each namespace to the GPUs of the cluster, and their slices; empty if the GPUs of a node are unknown.

    A quota counts pods that wait, too: replicas that lend their GPUs count twice, since they wait while Jobs have them.
    Kueue gives out each GPU once. Claims are counted by their class: `<class>.deviceclass.resource.k8s.io/devices`
    (Kubernetes, resource quotas).
    """
    counts = _count_gpus(installation.cluster, sharing.count_slices(layouts, gpus.RESOURCE))
    if not counts:
        return []
    waiting = [_count_lent_gpus(layout) for layout in layouts]
    counts = {
        resource: count + max((lent[resource] for lent in waiting), default=0) for resource, count in counts.items()
    }
    by_claim = installation.gpu_mode is GpuMode.DRA
    hard = {
        f"{gpus.DEVICE_CLASS}.deviceclass.resource.k8s.io/devices"
        if by_claim and resource == gpus.RESOURCE
        else f"requests.{resource}": str(count)
        for resource, count in counts.items()
    }
    return [
        ResourceQuota(metadata=make_metadata(installation, "gpus", namespace), spec=ResourceQuotaSpec(hard=hard))
        for namespace in namespaces
    ]


def _count_lent_gpus(installation: Installation) -> Counter[str]:
    """Count the GPUs that replicas of a layout lend, by resource."""
    counts: Counter[str] = Counter()
    for members in workloads.group_by_pod(installation):
        if workloads.is_lent(installation, members):
            counts[members[0].gpu_resource or gpus.RESOURCE] += members[0].gpu_count * members[0].replicas
    return counts


def _build_runtime_classes(installation: Installation) -> list[RuntimeClass]:
    """The runtime class of GPU pods; empty for K3s, which makes it itself, and for claims, which need none."""
    kubernetes = installation.cluster.kubernetes
    has_nvidia = any(node.gpus is None or list_nvidia_gpus(node) for node in installation.cluster.kubernetes_nodes)
    if (
        not has_nvidia
        or installation.gpu_mode is GpuMode.DRA
        or (kubernetes is not None and kubernetes.distribution == "k3s")
    ):
        return []
    return [RuntimeClass(metadata=make_metadata(installation, gpus.RUNTIME_CLASS), handler=gpus.RUNTIME_CLASS)]


def _count_gpus(cluster: Cluster, slices: Mapping[str, int]) -> Mapping[str, int]:
    """Count the GPUs of the cluster by resource, each with its slices; empty if those of a node are not known yet."""
    if any(node.gpus is None for node in cluster.kubernetes_nodes):
        return {}
    counts: Counter[str] = Counter()
    for node in cluster.kubernetes_nodes:
        for gpu in node.gpus or ():
            resource = find_resource((gpu,))
            if resource is not None:
                counts[resource] += slices.get(node.name, 1) if resource == gpus.RESOURCE else 1
    return counts
