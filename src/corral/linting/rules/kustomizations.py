"""Kustomizations, policies of namespaces, and objects that set one field differently."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from corral.linting.corpus import Corpus
from corral.linting.documents import Document, is_page
from corral.linting.kustomizing import is_fetched
from corral.linting.manifests import Container
from corral.linting.registry import Violation, checks
from corral.linting.tree import Tree
from corral.linting.values import Severity

_LISTS = ("resources", "components", "patchesStrategicMerge", "configurations")
_POSITION = re.compile(r"/(?:containers|initContainers|volumes|env|volumeMounts)/(?P<number>\d+)(?:/|$)")
_ENFORCE = "pod-security.kubernetes.io/enforce"
_OWN_METRICS = frozenset({"External", "Pods", "Object"})


def _join_path(folder: PurePosixPath, entry: str) -> str:
    """Join a folder and a path, without `.` and `..`."""
    parts: list[str] = list(folder.parts)
    for part in PurePosixPath(entry).parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts) or "."


def _list_paths(kustomization: Document) -> Iterator[Tree]:
    for key in _LISTS:
        yield from kustomization.tree[key].entries


@checks("G01", of_files=True)
def check_missing_files(corpus: Corpus) -> Iterator[Violation]:
    """Look for local paths that are not among the files, where their folder is."""
    files = {str(PurePosixPath(name)) for name in corpus.sources}
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    for kustomization in corpus.kustomizations:
        if is_page(kustomization.tree.file):
            continue  # its files are those of an example
        folder = PurePosixPath(kustomization.tree.file).parent
        for entry in _list_paths(kustomization):
            raw = entry.raw
            if raw is None or is_fetched(raw) or "\n" in raw or not _is_expected(raw):
                continue
            path = _join_path(folder, raw)
            is_below = str(PurePosixPath(path).parent) in folders
            if is_below and path not in files and path not in folders:
                yield Violation(
                    place=entry.place,
                    what=f"there is no {path}",
                    subject=kustomization.tree["kind"].raw or "Kustomization",
                )


def _is_expected(entry: str) -> bool:
    """Return whether an entry would be among the files if it were there: a folder or a YAML file, and not hidden."""
    parts = PurePosixPath(entry).parts
    return PurePosixPath(entry).suffix in ("", ".yaml", ".yml") and not any(
        part.startswith(".") and part not in (".", "..") for part in parts
    )


@checks("G02")
def check_files_outside(corpus: Corpus) -> Iterator[Violation]:
    """Look for files whose path goes up; Flux builds without the restriction."""
    is_flux = any(manifest.group == "kustomize.toolkit.fluxcd.io" for manifest in corpus.custom_manifests)
    for kustomization in corpus.kustomizations:
        if is_flux or is_page(kustomization.tree.file):
            continue
        for entry in _list_paths(kustomization):
            if (entry.raw or "").startswith("../") and (entry.raw or "").endswith((".yaml", ".yml")):
                yield Violation(place=entry.place, what=f"{entry.raw} is a file outside of this folder")


@checks("G03", of_files=True)
def check_common_labels(corpus: Corpus) -> Iterator[Violation]:
    """Look for the field."""
    for kustomization in corpus.kustomizations:
        field = kustomization.tree["commonLabels"]
        if field:
            yield Violation(place=field.key or field.place, what="commonLabels changes selectors")


@checks("G04", of_files=True)
def check_image_overrides(corpus: Corpus) -> Iterator[Violation]:
    """Look for names that no container of the files has."""
    for kustomization in corpus.kustomizations:
        names = corpus.list_images(kustomization) if kustomization.tree["images"] else frozenset[str]()
        for entry in kustomization.tree["images"].entries if names else ():
            name = entry["name"]
            if name.raw is not None and name.raw not in names:
                yield Violation(place=name.place, what=f"no container of these files runs {name.raw!r}")


@checks("G05", of_files=True)
def check_patches_by_position(corpus: Corpus) -> Iterator[Violation]:
    """Look for paths with the number of a container, volume or variable."""
    for kustomization in corpus.kustomizations:
        for path, tree in kustomization.tree["patches"].walk():
            raw = tree.raw
            if raw is None or not path or path[-1] not in ("path", "patch"):
                continue
            match = None if re.search(r"op[\"']?:\s*[\"']?test\b", raw) else _POSITION.search(raw)
            if match and (
                "op:" in raw or "op" in kustomization.tree.follow("patches", *path[:-1]).keys or path[-1] == "patch"
            ):
                known = Severity.NOTE if match["number"] == "0" else None  # seldom is one added in front
                yield Violation(place=tree.place, what=f"a patch of {match[0]!r}, by its position", severity=known)


@checks("G06")
def check_pod_security(corpus: Corpus) -> Iterator[Violation]:
    """Look for containers that miss what the restricted profile asks for."""
    strict = {
        namespace.name
        for namespace in corpus.list_kind("Namespace")
        if namespace.tree["metadata"]["labels"][_ENFORCE].raw == "restricted"
    }
    for container in corpus.containers:
        missing = _list_missing(container) if container.pod.owner.namespace in strict else []
        if missing:
            what = f"container {container.name!r} lacks {', '.join(missing)}"
            yield Violation(
                place=(container.tree["securityContext"] or container.tree["name"]).place,
                what=what,
                subject=container.pod.owner,
            )


def _list_missing(container: Container) -> list[str]:
    own, of_pod = container.tree["securityContext"], container.pod.spec["securityContext"]
    missing: list[str] = []
    if not own["runAsNonRoot"].boolean and not (own["runAsNonRoot"].boolean is None and of_pod["runAsNonRoot"].boolean):
        missing.append("runAsNonRoot")
    if not own["seccompProfile"]["type"] and not of_pod["seccompProfile"]["type"]:
        missing.append("seccompProfile")
    if own["allowPrivilegeEscalation"].boolean is not False:
        missing.append("allowPrivilegeEscalation: false")
    if "ALL" not in {drop.raw for drop in own["capabilities"]["drop"].entries}:
        missing.append("capabilities.drop: [ALL]")
    return missing


@checks("G07")
def check_metrics_adapter(corpus: Corpus) -> Iterator[Violation]:
    """Look for such metrics where no APIService of the files serves them."""
    served = any("metrics.k8s.io" in (api_service.name or "") for api_service in corpus.list_kind("APIService"))
    for autoscaler in corpus.list_kind("HorizontalPodAutoscaler") if not served else ():
        for metric in autoscaler.tree["spec"]["metrics"].entries:
            if metric["type"].raw in _OWN_METRICS:
                yield Violation(
                    place=metric["type"].place, what=f"a metric of type {metric['type'].raw}", subject=autoscaler
                )


@checks("G08")
def check_replica_owners(corpus: Corpus) -> Iterator[Violation]:
    """Look for targets of autoscalers that say how many they are."""
    for autoscaler in corpus.list_kind("HorizontalPodAutoscaler"):
        target = autoscaler.tree["spec"]["scaleTargetRef"]
        scaled = corpus.find_named(target["kind"].raw or "", autoscaler.namespace, target["name"].raw)
        replicas = scaled.tree["spec"]["replicas"] if scaled else None
        if scaled is not None and replicas:
            yield Violation(
                place=replicas.place, what=f"replicas is {replicas.raw}, and {autoscaler} sets it too", subject=scaled
            )


@checks("G09")
def check_subpath_mounts(corpus: Corpus) -> Iterator[Violation]:
    """Look for mounts with subPath of volumes that are ConfigMaps."""
    for container in corpus.containers:
        if any(
            "checksum" in name or "reloader" in name for name in container.pod.template["metadata"]["annotations"].keys
        ):
            continue  # a change of the ConfigMap makes new pods
        maps = {
            volume["name"].raw
            for volume in container.pod.spec["volumes"].entries
            if volume["configMap"] and not _is_renamed(corpus, container, volume["configMap"]["name"].raw)
        }
        for mount in container.tree["volumeMounts"].entries:
            is_script = (mount["mountPath"].raw or "").endswith(".sh")  # read once, at the start
            if mount["subPath"] and mount["name"].raw in maps and not is_script:
                what = f"{mount['mountPath'].raw} keeps the content of the start"
                yield Violation(place=mount["subPath"].place, what=what, subject=container.pod.owner)


def _is_renamed(corpus: Corpus, container: Container, name: str | None) -> bool:
    """Return whether a ConfigMap gets a new name, or never changes: it is generated, or immutable."""
    config_map = corpus.find_named("ConfigMap", container.pod.owner.namespace, name)
    return config_map is not None and (not config_map.tree["kind"] or config_map.tree["immutable"].boolean is True)
