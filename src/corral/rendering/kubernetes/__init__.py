"""Kubernetes manifests: a kustomize base with what the layouts share, and an overlay for each layout.

`kubectl apply --kustomize kubernetes/overlays/<layout>` applies one. Objects are typed (`lightkube-models`, made from
the official OpenAPI of the newest Kubernetes); what is written works on 1.34 and later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from corral.cluster.values import GpuMode, Storage
from corral.rendering.documents import document, manifests
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import contradictions, drivers, gpus, networking, nodes, policies, volumes, workloads
from corral.rendering.kubernetes.contradictions import ContradictionError
from corral.rendering.kubernetes.naming import plain, workload_name
from corral.rendering.kubernetes.notes import notes_of
from corral.rendering.programs import image_of

__all__ = ["ContradictionError", "base", "notes_of", "overlay", "render_kubernetes"]

_KUSTOMIZATION = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
Objects = list[Any]  # typed objects of lightkube, of many kinds


def render_kubernetes(installations: tuple[Installation, ...]) -> dict[str, str]:
    """Render the base, and an overlay for each layout. Raises: ContradictionError."""
    files = dict(base(installations))
    for installation in installations:
        files |= overlay(installation)
    return files


def base(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """What all layouts share: the objects of no single workload, labels of nodes, values for NVIDIA's chart."""
    one = installations[0]
    names = sorted({each.namespace for layout in installations for each in layout.deployed} | {one.namespace})
    used = _used_storage(installations)
    storage_class = volumes.storage_class(one, used)
    runtime_class = policies.runtime_class(one)
    parts: dict[str, Objects] = {
        "namespaces": [*policies.namespaces(one, names)],
        "priority-classes": [*policies.priority_classes(one)],
        "quotas": [*policies.quotas(one, names)],
        "network-policies": [*networking.own_namespace(one, names)],
        "storage-class": [] if storage_class is None else [storage_class],
        "volumes": [*volumes.persistent_volumes(one, used)],
        "runtime-class": [] if runtime_class is None else [runtime_class],
        "device-class": [gpus.device_class(one)] if one.gpu_mode is GpuMode.DRA else [],
    }
    files = {f"kubernetes/base/{name}.yaml": _file(one, objects) for name, objects in parts.items() if objects}
    files["kubernetes/base/kustomization.yaml"] = _kustomization(one, [f"{name}.yaml" for name in parts if parts[name]])
    return {**files, **nodes.patches(one), **drivers.values(one)}


def overlay(installation: Installation) -> Mapping[str, str]:
    """What one layout deploys: a file for each workload, and Jobs beside them as templates.

    Raises: ContradictionError.
    """
    folder = f"kubernetes/overlays/{installation.name}"
    groups = workloads.groups(installation)
    objects = [_workload(installation, members) for members in groups]
    claims = _claims(installation)
    jobs = [(one,) for one in _runnable_jobs(installation)]
    contradictions.check(installation, [*groups, *jobs], [*claims, *(one for each in objects for one in each)])
    files = {
        f"{folder}/{_file_name(members)}": _file(installation, each, *_accepted(members))
        for members, each in zip(groups, objects, strict=True)
    }
    if claims:
        files[f"{folder}/claims.yaml"] = _file(installation, claims)
    listed = sorted(name.rpartition("/")[2] for name in files)
    files[f"{folder}/kustomization.yaml"] = _kustomization(
        installation, ["../../base", *listed], *notes_of(installation)
    )
    return files | _jobs(installation)


def _file_name(members: Sequence[Deployed]) -> str:
    """The file of a workload; two names are those of other files."""
    name = workload_name(members[0])
    return f"{name}-workload.yaml" if name in ("claims", "kustomization") else f"{name}.yaml"


def _jobs(installation: Installation) -> dict[str, str]:
    """Jobs, each with what it needs beside the volumes of its layout."""
    note = "A template: copy it under a name of its own, then unsuspend it or let Kueue do so."
    return {
        f"kubernetes/jobs/{installation.name}/{workload_name(one)}.yaml": _file(
            installation,
            [
                workloads.service_account(installation, one),
                *workloads.config_maps(installation, (one,)),
                *_claim_templates(installation, (one,)),
                workloads.job(installation, one),
            ],
            note,
        )
        for one in _runnable_jobs(installation)
    }


def _runnable_jobs(installation: Installation) -> list[Deployed]:
    return [one for one in installation.deployed if workloads.is_job(one) and image_of(one.service) is not None]


def _workload(installation: Installation, members: tuple[Deployed, ...]) -> Objects:
    """Everything that belongs to one workload."""
    budget = workloads.disruption_budget(installation, members)
    return [
        workloads.service_account(installation, members[0]),
        *workloads.config_maps(installation, members),
        *_claim_templates(installation, members),
        workloads.workload(installation, members),
        *networking.services(installation, members),
        *networking.ingresses(installation, members),
        *networking.policies(installation, members),
        *([] if budget is None else [budget]),
    ]


def _accepted(members: Sequence[Deployed]) -> list[str]:
    """What our linter would tell, and the cluster file asks for."""
    exposed = [one.service.name for one in members if one.service.exposed]
    return [f"corral: ignore-file D11 because the cluster file exposes {', '.join(exposed)}"] if exposed else []


def _claim_templates(installation: Installation, members: Sequence[Deployed]) -> Objects:
    return [gpus.claim_template(installation, members)] if gpus.by_claim(installation, members) else []


def _used_storage(installations: tuple[Installation, ...]) -> list[Storage]:
    """Volumes that any layout uses, in the order of the file."""
    used = {storage.name for each in installations for one in each.deployed for storage in one.storage}
    return [storage for name, storage in installations[0].cluster.storage.items() if name in used]


def _claims(installation: Installation) -> Objects:
    """Claims of the volumes that the layout uses, each in the namespaces that use it."""
    running = [one for members in workloads.groups(installation) for one in members]
    users = [*running, *_runnable_jobs(installation)]
    found: Objects = []
    for storage in _used_storage((installation,)):
        spaces = sorted({one.namespace for one in users if storage in one.storage})
        found += volumes.claims(installation, storage, spaces)
    return found


def _kustomization(installation: Installation, resources: list[str], *notes: str) -> str:
    return document(installation, _KUSTOMIZATION | {"resources": resources}, *notes)


def _file(installation: Installation, objects: Iterable[Any], *notes: str) -> str:
    return manifests(installation, [plain(one) for one in objects], *notes)
