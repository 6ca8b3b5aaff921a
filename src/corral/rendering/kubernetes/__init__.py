"""Kubernetes manifests: a kustomize base with what the layouts share, and an overlay for each layout.

`kubectl apply --kustomize kubernetes/overlays/<layout>` applies one. Objects are typed (`lightkube-models`, made from
the official OpenAPI of the newest Kubernetes); what is written works on 1.34 and later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from corral.cluster.values import GpuMode, Storage
from corral.rendering.documents import document, manifests
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import gpus, networking, nodes, policies, volumes, workloads
from corral.rendering.kubernetes.naming import plain, workload_name
from corral.rendering.models import why_not

_KUSTOMIZATION = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


def base(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """What all layouts share, and the labels of nodes."""
    one = installations[0]
    groups = [members for each in installations for members in workloads.groups(each)]
    names = sorted({members[0].namespace for members in groups} | {one.namespace})
    used = _used_storage(installations)
    parts: dict[str, list[Any]] = {
        "namespaces": policies.namespaces(one, names),
        "priority-classes": policies.priority_classes(one),
        "quotas": policies.quotas(one, names),
        "network-policies": networking.default_deny(one, names),
        "volumes": volumes.persistent_volumes(one, used),
    }
    runtime = policies.runtime_class(one)
    parts["runtime-class"] = [] if runtime is None else [runtime]
    if any(_needs_claims(each) for each in installations):
        parts["device-class"] = [gpus.device_class(one)]
    files = {f"kubernetes/base/{name}.yaml": _file(one, objects) for name, objects in parts.items() if objects}
    files["kubernetes/base/kustomization.yaml"] = _kustomization(one, [f"{name}.yaml" for name in parts if parts[name]])
    return files | nodes.patches(one)


def overlay(installation: Installation) -> Mapping[str, str]:
    """What one layout deploys: a file for each workload, and Jobs beside them as templates."""
    folder = f"kubernetes/overlays/{installation.name}"
    files = {
        f"{folder}/{workload_name(members[0])}.yaml": _workload_file(installation, members)
        for members in workloads.groups(installation)
    }
    claims = _claims(installation)
    if claims:
        files[f"{folder}/claims.yaml"] = _file(installation, claims)
    listed = sorted(name.rpartition("/")[2] for name in files)
    files[f"{folder}/kustomization.yaml"] = _kustomization(
        installation, ["../../base", *listed], *notes_of(installation)
    )
    for one in installation.deployed:
        if workloads.is_job(one) and workloads.image_of(one) is not None:
            queue = next(iter(installation.cluster.queues), None)
            note = "A template: copy it under a name of its own, then unsuspend it or let Kueue do so."
            files[f"kubernetes/jobs/{installation.name}/{one.name}.yaml"] = _file(
                installation, [workloads.job(installation, one, queue), *_claim_templates(installation, [(one,)])], note
            )
    return files


def _workload_file(installation: Installation, members: tuple[Deployed, ...]) -> str:
    budget = workloads.disruption_budget(installation, members)
    objects = [
        workloads.service_account(installation, members[0]),
        *workloads.config_maps(installation, members),
        *_claim_templates(installation, [members]),
        workloads.workload(installation, members),
        *networking.services(installation, members),
        *networking.ingresses(installation, members),
        *networking.policies(installation, members),
        *([] if budget is None else [budget]),
    ]
    exposed = [one.service.name for one in members if one.service.exposed]
    accepted = f"corral: ignore-file D11 because the cluster file exposes {', '.join(exposed)}"
    return _file(installation, objects, *([accepted] if exposed else []))


def _claim_templates(installation: Installation, groups: Iterable[tuple[Deployed, ...]]) -> list[Any]:
    return [gpus.claim_template(installation, members) for members in groups if gpus.by_claim(installation, members)]


def _needs_claims(installation: Installation) -> bool:
    groups = workloads.groups(installation)
    return installation.gpu_mode is GpuMode.DRA or any(gpus.by_claim(installation, members) for members in groups)


def _used_storage(installations: tuple[Installation, ...]) -> list[Storage]:
    """Volumes that any layout uses, in the order of the file."""
    used = {storage.name for each in installations for one in each.deployed for storage in one.storage}
    return [storage for name, storage in installations[0].cluster.storage.items() if name in used]


def _claims(installation: Installation) -> list[Any]:
    """Claims of the volumes that the layout uses, each in the namespaces that use it."""
    found: list[Any] = []
    for storage in _used_storage((installation,)):
        spaces = sorted(
            {one.namespace for members in workloads.groups(installation) for one in members if storage in one.storage}
        )
        found += volumes.claims(installation, storage, spaces)
    return found


def notes_of(installation: Installation) -> list[str]:
    """What is left out, and why."""
    without_image = [one.name for one in installation.deployed if workloads.image_of(one) is None]
    notes = [f"Not deployed, because the file names no image: {', '.join(without_image)}."] if without_image else []
    for one in installation.deployed:
        for model in one.service.models:
            reason = why_not(installation, one, model)
            notes += [f"Not pulled for {one.name}: {reason}."] if reason else []
    return notes


def _kustomization(installation: Installation, resources: list[str], *notes: str) -> str:
    return document(installation, _KUSTOMIZATION | {"resources": resources}, *notes)


def _file(installation: Installation, objects: Iterable[Any], *notes: str) -> str:
    return manifests(installation, [plain(one) for one in objects], *notes)
