"""Volumes: their nodes, their access, and data that is lost with them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from corral.container_images import find_image
from corral.engine_kinds import COMFYUI
from corral.linting.compose.services import ComposeService
from corral.linting.corpus import Corpus
from corral.linting.documents import is_page
from corral.linting.kustomizing import split_image
from corral.linting.manifests import DEFAULT_NAMESPACE, PASSING_KINDS, Container, Manifest, Pod
from corral.linting.registry import Violation, checks
from corral.linting.rules.gpu_selection import HOSTNAME
from corral.linting.tree import Tree

_CACHE = re.compile(r"model|ollama|hugging|(?:^|[-_/])hf(?:$|[-_/])|checkpoint|whisper", re.IGNORECASE)
_WEIGHTS = re.compile(r"ollama|comfyui|llama|vllm", re.IGNORECASE)
_COMFYUI = re.compile(COMFYUI.name, re.IGNORECASE)
_OWN_FOLDERS = frozenset({"output", "user"})
_KEEPS_STATE = re.compile(r"comfyui|^ollama$", re.IGNORECASE)
_BESIDE = re.compile(r"exporter|proxy|front|client|manager|download|gateway|mcp|router", re.IGNORECASE)
"""Programs that are named after one that keeps models, and keep none."""
_NFS = re.compile(r"nfs", re.IGNORECASE)
_CHOWN = re.compile(r"\bchown\b")
_MANY = frozenset({"ReadWriteMany", "ReadOnlyMany"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A pod's use of a claim."""

    pod: Pod
    volume: Tree
    claim: str

    @property
    def node(self) -> str | None:
        """The host that the pod is pinned to."""
        return self.pod.spec["nodeSelector"][HOSTNAME].raw


def _list_uses(corpus: Corpus) -> Iterator[Use]:
    for pod in corpus.pods:
        for volume in pod.spec["volumes"].entries:
            claim = volume["persistentVolumeClaim"]["claimName"].raw
            if claim is not None:
                yield Use(pod=pod, volume=volume, claim=claim)


def _find_claim(corpus: Corpus, use: Use) -> Manifest | None:
    return corpus.find_named("PersistentVolumeClaim", use.pod.owner.namespace, use.claim)


def _is_single(claim: Manifest | None) -> bool:
    """Return whether only one node can use a claim at a time; False when unknown."""
    modes = {mode.raw for mode in claim.tree.follow("spec", "accessModes").entries} if claim else set[str | None]()
    return bool(modes) and modes.isdisjoint(_MANY)


def _is_nfs(corpus: Corpus, claim: Manifest | None) -> bool:
    if claim is None:
        return False
    spec = claim.tree["spec"]
    volume = corpus.find_named("PersistentVolume", "", spec["volumeName"].raw)
    return bool(_NFS.search(spec["storageClassName"].raw or "")) or (
        volume is not None and bool(volume.tree["spec"]["nfs"])
    )


def _get_claim_name(use: Use) -> Tree:
    return use.volume["persistentVolumeClaim"]["claimName"]


@checks("E01")
def check_pinned_volumes(corpus: Corpus) -> Iterator[Violation]:
    """Look for pods whose host name is not one that their volume names."""
    for use in _list_uses(corpus):
        claim = _find_claim(corpus, use)
        name = claim.tree["spec"]["volumeName"].raw if claim else None
        hosts = _list_hosts(corpus.find_named("PersistentVolume", "", name))
        if hosts and use.node is not None and use.node not in hosts:
            what = f"the volume of {use.claim!r} is on {', '.join(sorted(hosts))}, the pod runs on {use.node}"
            yield Violation(place=_get_claim_name(use).place, what=what, subject=use.pod.owner)


def _list_hosts(volume: Manifest | None) -> set[str]:
    if volume is None:
        return set()
    terms = volume.tree.follow("spec", "nodeAffinity", "required", "nodeSelectorTerms").entries
    return {
        value.raw or ""
        for term in terms
        for expression in term["matchExpressions"].entries
        if expression["key"].raw == HOSTNAME and expression["operator"].raw == "In"
        for value in expression["values"].entries
    }


@checks("E02")
def check_claims_across_nodes(corpus: Corpus) -> Iterator[Violation]:
    """Look for claims of one access whose pods are pinned to different hosts."""
    users: dict[tuple[str, str], list[Use]] = defaultdict(list)
    for use in _list_uses(corpus):
        if use.node is not None and _is_single(_find_claim(corpus, use)):
            users[use.pod.owner.namespace, use.claim].append(use)
    for uses in users.values():
        first = uses[0]
        for use in uses[1:]:
            if use.node != first.node:
                what = f"{use.claim!r} is also used by {first.pod.owner} on {first.node}"
                yield Violation(place=_get_claim_name(use).place, what=what, subject=use.pod.owner)


@checks("E03")
def check_replicas_on_claim(corpus: Corpus) -> Iterator[Violation]:
    """Look for Deployments of several replicas that are pinned nowhere."""
    for use in _list_uses(corpus):
        owner = use.pod.owner
        is_free = not use.pod.spec["nodeSelector"] and not use.pod.spec["affinity"] and not use.pod.spec["nodeName"]
        if owner.kind == "Deployment" and owner.replicas > 1 and is_free and _is_single(_find_claim(corpus, use)):
            what = f"{owner.replicas} replicas share {use.claim!r}, which one node can use at a time"
            yield Violation(place=_get_claim_name(use).place, what=what, subject=owner)


_SET_NAMESPACES = (".fluxcd.io", "argoproj.io")
"""Groups of programs that give objects a namespace when they apply them: `targetNamespace`, `destination`."""


@checks("E04")
def check_claim_namespace(corpus: Corpus) -> Iterator[Violation]:
    """Look for claims that only another namespace of the files has."""
    is_set_elsewhere = any(manifest.group.endswith(_SET_NAMESPACES) for manifest in corpus.custom_manifests)
    for use in _list_uses(corpus):
        if _find_claim(corpus, use) is not None or not use.pod.owner.has_namespace:
            continue
        others = [
            claim.namespace
            for claim in corpus.list_kind("PersistentVolumeClaim")
            if claim.name == use.claim and not (is_set_elsewhere and claim.namespace == DEFAULT_NAMESPACE)
        ]
        if others:
            what = f"the claim {use.claim!r} is in {others[0]!r}, the pod in {use.pod.owner.namespace!r}"
            yield Violation(place=_get_claim_name(use).place, what=what, subject=use.pod.owner)


@checks("E05")
def check_lost_caches(corpus: Corpus) -> Iterator[Violation]:
    """Look for emptyDir volumes that are called after models and that no init container fills."""
    for pod in corpus.pods:
        if pod.owner.kind in PASSING_KINDS or not _holds_models(pod):
            continue
        filled = {
            mount["name"].raw
            for container in pod.containers
            if container.is_init
            for mount in container.tree["volumeMounts"].entries
        }
        for volume in pod.spec["volumes"].entries:
            name, empty = volume["name"], volume["emptyDir"]
            if empty and empty["medium"].raw != "Memory" and _CACHE.search(name.raw or "") and name.raw not in filled:
                what = f"the volume {name.raw!r} is emptied with every restart"
                yield Violation(place=(empty.key or empty.place), what=what, subject=pod.owner)


@checks("E06")
def check_missing_volumes(corpus: Corpus) -> Iterator[Violation]:
    """Look for containers of either program without any mount."""
    for container in corpus.containers:
        is_server = not container.is_init and container.pod.owner.kind not in PASSING_KINDS and _keeps_state(container)
        if is_server and not container.tree["volumeMounts"].entries:
            what = f"container {container.name!r} has no volume for its models and results"
            yield Violation(place=container.tree["image"].place, what=what, subject=container.pod.owner)

    for service in corpus.services:
        yield from _find_missing_mount(service)


def _find_missing_mount(service: ComposeService) -> Iterator[Violation]:
    """Report a Compose service whose image keeps models in a folder on which it has no volume."""
    facts = find_image(service.image) if service.image else None
    if (
        facts is None
        or not facts.folders
        or service.tree["volumes_from"]
        or is_page(service.project.document.tree.file)
    ):
        return
    targets = [(mount["target"].raw or "").rstrip("/") for mount in service.mounts]
    if any(variable in service.env for variable in facts.folder_variables) and targets:
        return  # it is elsewhere, and whether a volume is there is a matter of paths that the image decides
    if not any(_covers(target, folder) for target in targets for folder in facts.folders):
        what = f"service {service.name!r} has no volume at {facts.folders[0]}, where it keeps what must last"
        yield Violation(place=(service.tree["image"] or service.tree).place, what=what, subject=service)


def _covers(target: str, folder: str) -> bool:
    """Return whether a volume at one path has a part of a folder, or the whole folder."""
    return f"{folder}/".startswith(f"{target}/") or target.startswith(f"{folder}/")


@checks("E11")
def check_shared_outputs(corpus: Corpus) -> Iterator[Violation]:
    """Look for folders of ComfyUI's results or user data that several of its instances write to."""
    yield from _find_shared_claims(corpus)
    for project in corpus.projects:
        writers: dict[str, list[ComposeService]] = defaultdict(list)
        for service in project.services:
            for mount in service.mounts if _is_comfyui(service.image) else ():
                source, folder = mount["source"], mount["volume"]["subpath"].raw or ""
                if source.raw is None or not _is_own_folder(mount["target"].raw):
                    continue
                others = writers[f"{source.raw}/{folder}"]
                if others or service.replicas > 1:
                    first = others[0].name if others else f"{service.replicas} replicas of it"
                    what = f"service {service.name!r} and {first} write to {source.raw!r}"
                    yield Violation(place=source.place, what=what, subject=service)
                others.append(service)


def _find_shared_claims(corpus: Corpus) -> Iterator[Violation]:
    writers: dict[tuple[str, str, str], list[Pod]] = defaultdict(list)
    for use in _list_uses(corpus):
        owner = use.pod.owner
        for container in use.pod.containers:
            for mount in container.tree["volumeMounts"].entries if _is_comfyui(container.image) else ():
                is_whole = mount["name"].raw == use.volume["name"].raw and not mount["subPathExpr"].raw
                if container.is_init or not is_whole or not _is_own_folder(mount["mountPath"].raw):
                    continue
                others = writers[owner.namespace, use.claim, mount["subPath"].raw or ""]
                rivals = [pod for pod in others if corpus.can_coexist(pod.owner, owner)]
                if rivals or owner.replicas > 1:
                    first = str(rivals[0].owner) if rivals else f"{owner.replicas} replicas of it"
                    what = f"container {container.name!r} and {first} write to one folder of {use.claim!r}"
                    yield Violation(place=mount["mountPath"].place, what=what, subject=owner)
                others.append(use.pod)


def _is_comfyui(image: str | None) -> bool:
    name = split_image(image or "")[0].rpartition("/")[2]
    return bool(_COMFYUI.search(name)) and not _BESIDE.search(name)


def _is_own_folder(path: str | None) -> bool:
    return PurePosixPath(path or "").name in _OWN_FOLDERS


@checks("E07")
def check_weights_over_nfs(corpus: Corpus) -> Iterator[Violation]:
    """Look for containers that map weights and mount an NFS claim for models."""
    for use in _list_uses(corpus):
        if not _is_nfs(corpus, _find_claim(corpus, use)):
            continue
        for container in _list_mounting(use):
            if _WEIGHTS.search(container.image or "") and not container.is_init:
                what = f"container {container.name!r} maps weights from the NFS claim {use.claim!r}"
                yield Violation(place=_get_claim_name(use).place, what=what, subject=use.pod.owner)
                break
    for project in corpus.projects:
        on_nfs = {
            name: volume
            for name, volume in project.get_section("volumes").items()
            if (volume["driver_opts"]["type"].raw or "").startswith("nfs")
        }
        for service in project.services:
            for mount in service.mounts:
                name = mount["source"].raw or ""
                is_for_models = _CACHE.search(f"{mount['target'].raw} {name}") or ".ollama" in (
                    mount["target"].raw or ""
                )
                if name in on_nfs and is_for_models and _WEIGHTS.search(service.image or ""):
                    what = f"service {service.name!r} maps weights from the NFS volume {name!r}"
                    yield Violation(place=mount["source"].place, what=what, subject=service)


def _holds_models(pod: Pod) -> bool:
    return (
        pod.gpus > 0 or bool(pod.spec["resourceClaims"]) or any(_WEIGHTS.search(c.image or "") for c in pod.containers)
    )


def _keeps_state(container: Container) -> bool:
    name = split_image(container.image or "")[0].rpartition("/")[2]
    return bool(_KEEPS_STATE.search(name)) and not _BESIDE.search(name)


def _list_mounting(use: Use) -> Iterator[Container]:
    """Containers that mount the volume at a place for models."""
    name = use.volume["name"].raw
    for container in use.pod.containers:
        for mount in container.tree["volumeMounts"].entries:
            if mount["name"].raw == name and _CACHE.search(f"{mount['mountPath'].raw} {name}"):
                yield container


@checks("E08")
def check_chown_on_nfs(corpus: Corpus) -> Iterator[Violation]:
    """Look for init containers with chown that mount an NFS claim."""
    on_nfs = {
        (id(use.pod), use.volume["name"].raw) for use in _list_uses(corpus) if _is_nfs(corpus, _find_claim(corpus, use))
    }
    for container in corpus.containers if on_nfs else ():
        mounts = {(id(container.pod), mount["name"].raw) for mount in container.tree["volumeMounts"].entries}
        for word in (*container.tree["command"].entries, *container.tree["args"].entries):
            if container.is_init and mounts & on_nfs and _CHOWN.search(word.script or ""):
                what = f"init container {container.name!r} changes owners on NFS"
                yield Violation(place=word.place, what=what, subject=container.pod.owner)
