"""Kustomizations, policies of namespaces, and objects that fight over one field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from corral.linting.corpus import Scene
from corral.linting.kustomizing import is_fetched, split_image
from corral.linting.objects import Container
from corral.linting.reading.documents import Document
from corral.linting.reading.markdown import is_page
from corral.linting.registry import Found, checks
from corral.linting.tree import Tree
from corral.linting.values import Severity

_LISTS = ("resources", "components", "patchesStrategicMerge", "configurations")
_POSITION = re.compile(r"/(?:containers|initContainers|volumes|env|volumeMounts)/(?P<number>\d+)(?:/|$)")
_ENFORCE = "pod-security.kubernetes.io/enforce"
_OWN_METRICS = frozenset({"External", "Pods", "Object"})


def _joined(folder: PurePosixPath, entry: str) -> str:
    """A path below or beside a folder, without `.` and `..`."""
    parts: list[str] = list(folder.parts)
    for part in PurePosixPath(entry).parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts) or "."


def _listed(one: Document) -> Iterator[Tree]:
    for key in _LISTS:
        yield from one.tree[key].entries


@checks("G01")
def missing_file(scene: Scene) -> Iterator[Found]:
    """Look for local paths that are not among the files, where their folder is."""
    files = {str(PurePosixPath(name)) for name in scene.sources}
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    for one in scene.kustomizations:
        if is_page(one.tree.file):
            continue  # its files are those of an example
        folder = PurePosixPath(one.tree.file).parent
        for entry in _listed(one):
            raw = entry.raw
            if raw is None or is_fetched(raw) or "\n" in raw or not _is_looked_for(raw):
                continue
            path = _joined(folder, raw)
            is_below = str(PurePosixPath(path).parent) in folders
            if is_below and path not in files and path not in folders:
                yield Found(
                    place=entry.place, what=f"there is no {path}", subject=one.tree["kind"].raw or "Kustomization"
                )


def _is_looked_for(entry: str) -> bool:
    """Tell whether an entry would be among the files if it were there: a folder or a YAML file, and not hidden."""
    parts = PurePosixPath(entry).parts
    return PurePosixPath(entry).suffix in ("", ".yaml", ".yml") and not any(
        part.startswith(".") and part not in (".", "..") for part in parts
    )


@checks("G02")
def outside(scene: Scene) -> Iterator[Found]:
    """Look for files whose path goes up; Flux builds without the restriction."""
    is_flux = any(one.group == "kustomize.toolkit.fluxcd.io" for one in scene.custom_objects)
    for one in scene.kustomizations:
        if is_flux or is_page(one.tree.file):
            continue
        for entry in _listed(one):
            if (entry.raw or "").startswith("../") and (entry.raw or "").endswith((".yaml", ".yml")):
                yield Found(place=entry.place, what=f"{entry.raw} is a file outside of this folder")


@checks("G03")
def common_labels(scene: Scene) -> Iterator[Found]:
    """Look for the field."""
    for one in scene.kustomizations:
        field = one.tree["commonLabels"]
        if field:
            yield Found(place=field.key or field.place, what="commonLabels changes selectors")


@checks("G04")
def override_of_nothing(scene: Scene) -> Iterator[Found]:
    """Look for names that no container of the files has."""
    names = (
        {split_image(spot.tree.raw)[0] for spot in scene.under("image") if spot.tree.raw}
        if scene.is_whole
        else set[str]()
    )
    names |= {e["newName"].raw or "" for one in scene.kustomizations for e in one.tree["images"].entries if names}
    for one in scene.kustomizations:
        for entry in one.tree["images"].entries if names else ():
            name = entry["name"]
            if name.raw is not None and name.raw not in names:
                yield Found(place=name.place, what=f"no container of these files runs {name.raw!r}")


@checks("G05")
def by_position(scene: Scene) -> Iterator[Found]:
    """Look for paths with the number of a container, volume or variable."""
    for one in scene.kustomizations:
        for path, tree in one.tree["patches"].walk():
            raw = tree.raw
            if raw is None or not path or path[-1] not in ("path", "patch"):
                continue
            match = None if re.search(r"op[\"']?:\s*[\"']?test\b", raw) else _POSITION.search(raw)
            if match and ("op:" in raw or "op" in one.tree.at("patches", *path[:-1]).keys or path[-1] == "patch"):
                known = Severity.NOTE if match["number"] == "0" else None  # seldom is one added in front
                yield Found(place=tree.place, what=f"a patch of {match[0]!r}, by its position", severity=known)


@checks("G06")
def not_admitted(scene: Scene) -> Iterator[Found]:
    """Look for containers that miss what the restricted profile asks for."""
    strict = {
        one.name for one in scene.of_kind("Namespace") if one.tree["metadata"]["labels"][_ENFORCE].raw == "restricted"
    }
    for one in scene.containers:
        missing = _missing(one) if one.pod.owner.namespace in strict else []
        if missing:
            what = f"container {one.name!r} lacks {', '.join(missing)}"
            yield Found(place=(one.tree["securityContext"] or one.tree["name"]).place, what=what, subject=one.pod.owner)


def _missing(one: Container) -> list[str]:
    own, of_pod = one.tree["securityContext"], one.pod.spec["securityContext"]
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
def without_adapter(scene: Scene) -> Iterator[Found]:
    """Look for such metrics where no APIService of the files serves them."""
    served = any("metrics.k8s.io" in (one.name or "") for one in scene.of_kind("APIService"))
    for one in scene.of_kind("HorizontalPodAutoscaler") if not served else ():
        for metric in one.tree["spec"]["metrics"].entries:
            if metric["type"].raw in _OWN_METRICS:
                yield Found(place=metric["type"].place, what=f"a metric of type {metric['type'].raw}", subject=one)


@checks("G08")
def two_owners(scene: Scene) -> Iterator[Found]:
    """Look for targets of autoscalers that say how many they are."""
    for one in scene.of_kind("HorizontalPodAutoscaler"):
        target = one.tree["spec"]["scaleTargetRef"]
        scaled = scene.named(target["kind"].raw or "", one.namespace, target["name"].raw)
        replicas = scaled.tree["spec"]["replicas"] if scaled else None
        if scaled is not None and replicas:
            yield Found(place=replicas.place, what=f"replicas is {replicas.raw}, and {one} sets it too", subject=scaled)


@checks("G09")
def frozen_file(scene: Scene) -> Iterator[Found]:
    """Look for mounts with subPath of volumes that are ConfigMaps."""
    for one in scene.containers:
        if any("checksum" in name or "reloader" in name for name in one.pod.template["metadata"]["annotations"].keys):
            continue  # a change of the ConfigMap makes new pods
        maps = {
            volume["name"].raw
            for volume in one.pod.spec["volumes"].entries
            if volume["configMap"] and not _is_renamed(scene, one, volume["configMap"]["name"].raw)
        }
        for mount in one.tree["volumeMounts"].entries:
            is_script = (mount["mountPath"].raw or "").endswith(".sh")  # read once, at the start
            if mount["subPath"] and mount["name"].raw in maps and not is_script:
                what = f"{mount['mountPath'].raw} keeps the content that it had at the start"
                yield Found(place=mount["subPath"].place, what=what, subject=one.pod.owner)


def _is_renamed(scene: Scene, one: Container, name: str | None) -> bool:
    """Tell whether a ConfigMap gets a new name, or never changes: it is generated, or immutable."""
    found = scene.named("ConfigMap", one.pod.owner.namespace, name)
    return found is not None and (not found.tree["kind"] or found.tree["immutable"].boolean is True)
