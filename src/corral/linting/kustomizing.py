"""Builds kustomizations: the manifests as they are applied, each value with the place that it comes from.

A build is the result of one kustomization that no other lists: overlays over one base are alternatives, and each is
linted on its own. Done as kustomize does it, as far as rules look: resources, components, strategic merge and JSON
patches, namespace, prefix and suffix, labels, replicas, images, generated ConfigMaps. What is fetched (remote bases,
charts) is not there, and `is_whole` says so.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property

from corral.linting.documents import Document, read_documents
from corral.linting.manifests import CLUSTER_SCOPED, DEFAULT_NAMESPACE, Manifest, read_manifests
from corral.linting.patching import apply_operations, is_deletion, merge_patch, put
from corral.linting.tree import Tree
from corral.linting.values import Source

NAMES = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})
_KINDS = frozenset({"Kustomization", "Component"})
_SCALED = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"})
_KEEPS_NAME = frozenset({"Namespace", "CustomResourceDefinition", "APIService"})
_SELECTED = {"Service": ("spec", "selector"), "NetworkPolicy": ("spec", "podSelector", "matchLabels")}
_TEMPLATED = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "DaemonSet", "Job", "CronJob"})
_LONGEST_PATTERN = 200
_SLOW_PATTERN = re.compile(r"[*+}]\)?\)[*+{?]|\([^()]*\|[^()]*\)[*+{]")
"""A repetition of repetitions: Python tries all of them, where kustomize's engine does not."""
_DEEPEST = 20
"""Levels of kustomizations; a cycle ends here too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The result of one kustomization."""

    folder: str
    manifests: tuple[Manifest, ...]


def normalize_path(path: str) -> str:
    """Return a path without `.`, `..` and backslashes."""
    return posixpath.normpath(path.replace("\\", "/"))


def is_kustomization(document: Document) -> bool:
    """Return whether a document is a kustomization or a component."""
    version = document.tree["apiVersion"].raw or "kustomize.config.k8s.io"
    if not version.startswith("kustomize.config.k8s.io"):
        return False  # Flux has a kind of the same name
    return posixpath.basename(normalize_path(document.tree.file)) in NAMES or document.tree["kind"].raw in _KINDS


def is_fetched(entry: str) -> bool:
    """Return whether a resource is a remote one."""
    return "://" in entry or "?ref=" in entry or entry.startswith(("github.com/", "git@", "gitlab.com/"))


def list_files(source: Source) -> Iterator[str]:
    """List the files that a kustomization uses; none for any other file."""
    if posixpath.basename(normalize_path(source.name)) not in NAMES:
        return
    documents = [document for document in read_documents(source.name, source.text) if isinstance(document, Document)]
    yield from sorted(Kustomizations(documents).files)


class Kustomizations:
    """All kustomizations of an input."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._documents: dict[str, list[Document]] = {}
        self._listed: dict[str, Document] = {}
        for document in documents:
            if is_kustomization(document):
                self._listed.setdefault(posixpath.dirname(normalize_path(document.tree.file)) or ".", document)
            else:
                self._documents.setdefault(normalize_path(document.tree.file), []).append(document)

    @cached_property
    def documents(self) -> tuple[Document, ...]:
        """The kustomizations."""
        return tuple(self._listed.values())

    @cached_property
    def is_whole(self) -> bool:
        """Whether everything that is deployed is in the files: nothing is fetched, no chart is filled."""
        return not any(
            kustomization.tree["helmCharts"]
            or kustomization.tree["generators"]
            or kustomization.tree["transformers"]
            or self._is_open(folder, kustomization)
            for folder, kustomization in self._listed.items()
        )

    def is_whole_below(self, folder: str, broken: Set[str]) -> bool:
        """Return whether everything that one kustomization deploys is in the files, and none of it is `broken`."""
        return all(
            not (part.tree["helmCharts"] or part.tree["generators"] or part.tree["transformers"])
            and not self._is_open(at, part)
            for at, part in self.list_below(folder)
        ) and broken.isdisjoint(self.list_files_below(folder))

    def list_below(self, folder: str, depth: int = 0) -> Iterator[tuple[str, Document]]:
        """List a kustomization and those that it lists, each with its folder."""
        kustomization = self._listed.get(folder)
        if kustomization is None or depth > _DEEPEST:
            return
        yield folder, kustomization
        for entry in self._list_entries(kustomization, "resources", "components", "bases"):
            yield from self.list_below(self._join_path(folder, entry), depth + 1)

    def list_files_below(self, folder: str) -> frozenset[str]:
        """List the files that a kustomization and those below it list."""
        return frozenset(
            self._join_path(at, entry)
            for at, part in self.list_below(folder)
            for entry in self._list_entries(part, "resources", "components", "bases", "patchesStrategicMerge")
        )

    def _is_open(self, folder: str, kustomization: Document) -> bool:
        """Return whether a resource is remote or outside of the input."""
        paths = [
            (entry, self._join_path(folder, entry))
            for entry in self._list_entries(kustomization, "resources", "components", "bases")
        ]
        return any(
            is_fetched(entry) or (path not in self._listed and path not in self._documents) for entry, path in paths
        )

    @cached_property
    def builds(self) -> tuple[Build, ...]:
        """The builds of the kustomizations that no other lists, components excepted."""
        below = {
            self._join_path(folder, entry)
            for folder, kustomization in self._listed.items()
            for entry in self._list_entries(kustomization, "resources", "components", "bases")
        }
        tops = [
            folder
            for folder, kustomization in self._listed.items()
            if folder not in below and kustomization.tree["kind"].raw != "Component"
        ]
        return tuple(Build(folder=folder, manifests=tuple(self._build(folder, 0))) for folder in tops)

    @cached_property
    def files(self) -> frozenset[str]:
        """Every file that a kustomization lists, as a resource or as a patch, and the kustomizations themselves."""
        files = {normalize_path(kustomization.tree.file) for kustomization in self._listed.values()}
        for folder, kustomization in self._listed.items():
            named = list(
                self._list_entries(kustomization, "resources", "components", "bases", "patchesStrategicMerge", "crds")
            )
            named += [entry["path"].raw or "" for entry in kustomization.tree["patches"].entries]
            named += [entry["path"].raw or "" for entry in kustomization.tree["patchesJson6902"].entries]
            named += [entry["path"].raw or "" for entry in kustomization.tree["replacements"].entries]
            named += [
                entry.raw or ""
                for key in ("configurations", "transformers")
                for entry in kustomization.tree[key].entries
            ]
            files |= {self._join_path(folder, entry) for entry in named if entry and "\n" not in entry}
        return frozenset(files)

    def _list_entries(self, kustomization: Document, *keys: str) -> Iterator[str]:
        return (entry.raw for key in keys for entry in kustomization.tree[key].entries if entry.raw)

    def _join_path(self, folder: str, entry: str) -> str:
        return normalize_path(posixpath.join(folder, entry))

    def _build(self, folder: str, depth: int) -> list[Manifest]:
        kustomization = self._listed.get(folder)
        if kustomization is None or depth > _DEEPEST:
            return []
        return self._transform(folder, kustomization, self._gather(folder, kustomization, depth), depth)

    def _gather(self, folder: str, kustomization: Document, depth: int) -> list[Manifest]:
        objects: list[Manifest] = []
        for entry in self._list_entries(kustomization, "resources", "bases"):
            path = self._join_path(folder, entry)
            if path in self._listed:
                objects += self._build(path, depth + 1)
            for document in self._documents.get(path, ()):
                objects += read_manifests(document.tree, None)
        objects += _generate_config_maps(kustomization)
        return objects

    def _transform(self, folder: str, kustomization: Document, objects: list[Manifest], depth: int) -> list[Manifest]:
        for entry in self._list_entries(kustomization, "components"):
            path = self._join_path(folder, entry)
            component = self._listed.get(path)
            if component is not None and depth < _DEEPEST:
                objects = objects + self._gather(path, component, depth + 1)
                objects = self._transform(path, component, objects, depth + 1)
        for patch in self._list_patches(folder, kustomization):
            objects = [kept for manifest in objects if (kept := patch.apply(manifest)) is not None]
        return [
            _apply_images(_apply_settings(manifest, kustomization.tree), kustomization.tree) for manifest in objects
        ]

    def _list_patches(self, folder: str, kustomization: Document) -> Iterator[Patch]:
        for entry in kustomization.tree["patchesStrategicMerge"].entries:
            yield from (Patch(text, _NO_TARGET) for text in self._read_patches(folder, entry, entry))
        for key in ("patches", "patchesJson6902"):
            for entry in kustomization.tree[key].entries:
                for text in self._read_patches(folder, entry["path"], entry["patch"]):
                    yield Patch(text, entry["target"])

    def _read_patches(self, folder: str, path: Tree, inline: Tree) -> Iterator[Tree]:
        """Read the documents of a patch, from its file or inline."""
        if path.raw and "\n" not in path.raw:
            yield from (document.tree for document in self._documents.get(self._join_path(folder, path.raw), ()))
        elif inline.raw:
            place = inline.place
            for read in read_documents(place.file, inline.raw, line=place.line + 1, start=None):
                if isinstance(read, Document):
                    yield read.tree


_NO_TARGET = Tree(None, "", 0)


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch and its target."""

    text: Tree
    target: Tree

    def apply(self, manifest: Manifest) -> Manifest | None:
        """Return the manifest with the patch; None when the patch deletes it."""
        if not self._is_for(manifest):
            return manifest
        if self.text.is_list:
            return replace(manifest, tree=apply_operations(manifest.tree, self.text.entries))
        if is_deletion(self.text):
            return None
        return replace(manifest, tree=merge_patch(manifest.tree, _strip_name(self.text)))

    def _is_for(self, manifest: Manifest) -> bool:
        if self.target:
            return _is_target(self.target, manifest)
        metadata = self.text["metadata"]
        space = metadata["namespace"].raw
        named = metadata["name"].raw in {manifest.name, *manifest.former_names}
        return (
            named
            and self.text["kind"].raw == manifest.kind
            and space in (None, manifest.namespace, _read_namespace(manifest))
        )


def _is_target(target: Tree, manifest: Manifest) -> bool:
    labels = {key: value.raw for key, value in manifest.tree["metadata"]["labels"].items}
    selector = target["labelSelector"].raw or ""
    pairs = [part.partition("=") for part in selector.split(",") if "=" in part and "!" not in part]
    return (
        _matches(target["kind"], [manifest.kind])
        and _matches(target["name"], [name for name in (manifest.name, *manifest.former_names) if name])
        and _matches(target["namespace"], [manifest.namespace, _read_namespace(manifest)])
        and _matches(target["group"], [manifest.group])
        and all(labels.get(key.strip()) == value.strip("= ") for key, _, value in pairs)
    )


def _matches(pattern: Tree, values: Sequence[str]) -> bool:
    """Return whether one of the values matches the pattern of a target: a regular expression over the whole value."""
    if pattern.raw is None:
        return True
    if len(pattern.raw) > _LONGEST_PATTERN or _SLOW_PATTERN.search(pattern.raw):
        return False
    try:
        return any(re.fullmatch(pattern.raw, value) for value in values)
    except re.error:
        return False


def _read_namespace(manifest: Manifest) -> str:
    return manifest.tree["metadata"]["namespace"].raw or DEFAULT_NAMESPACE


def _strip_name(text: Tree) -> Tree:
    """Remove name and kind from a patch, which must not change those of its targets."""
    metadata = text["metadata"].replace_fields({key: tree for key, tree in text["metadata"].items if key != "name"})
    fields = {key: tree for key, tree in text.items if key not in ("kind", "apiVersion", "metadata")}
    return text.replace_fields({**fields, "metadata": metadata} if text["metadata"] else fields)


def _apply_settings(manifest: Manifest, tree: Tree) -> Manifest:
    """Set the namespace, name, labels and replicas of a kustomization."""
    namespace = tree["namespace"].raw
    if namespace and manifest.kind not in CLUSTER_SCOPED:
        manifest = replace(manifest, namespace=namespace)
    elif namespace and manifest.kind == "Namespace":
        manifest = replace(
            manifest, name=namespace, former_names=frozenset({*manifest.former_names, manifest.name or ""})
        )
    prefix, suffix = tree["namePrefix"].raw or "", tree["nameSuffix"].raw or ""
    for entry in tree["replicas"].entries:
        if manifest.kind in _SCALED and entry["name"].raw in {manifest.name, *manifest.former_names} and entry["count"]:
            manifest = replace(manifest, tree=put(manifest.tree, ("spec", "replicas"), entry["count"]))
    if (prefix or suffix) and manifest.name and manifest.kind not in _KEEPS_NAME:
        called = f"{prefix}{manifest.name}{suffix}"
        manifest = replace(manifest, name=called, former_names=frozenset({*manifest.former_names, manifest.name}))
    return _apply_labels(manifest, tree)


def _apply_labels(manifest: Manifest, tree: Tree) -> Manifest:
    manifest = _add_labels(manifest, tree["commonLabels"], selectors=True, templates=True)
    for entry in tree["labels"].entries:
        selectors = bool(entry["includeSelectors"].boolean)
        templates = selectors or bool(entry["includeTemplates"].boolean)
        manifest = _add_labels(manifest, entry["pairs"], selectors=selectors, templates=templates)
    return manifest


def _add_labels(manifest: Manifest, pairs: Tree, *, selectors: bool, templates: bool) -> Manifest:
    for path in _list_label_paths(manifest, selectors=selectors, templates=templates) if pairs.is_mapping else ():
        both = merge_patch(manifest.tree.follow(*path), pairs) if manifest.tree.follow(*path) else pairs
        manifest = replace(manifest, tree=put(manifest.tree, path, both))
    return manifest


def _list_label_paths(manifest: Manifest, *, selectors: bool, templates: bool) -> Iterator[tuple[str, ...]]:
    yield ("metadata", "labels")
    if templates and manifest.kind in _TEMPLATED:
        start = ("spec", "jobTemplate") if manifest.kind == "CronJob" else ()
        yield (*start, "spec", "template", "metadata", "labels")
    if selectors and manifest.kind in _TEMPLATED and manifest.tree["spec"]["selector"]:
        yield ("spec", "selector", "matchLabels")
    elif selectors and manifest.kind in _SELECTED and manifest.tree.follow(*_SELECTED[manifest.kind]):
        yield _SELECTED[manifest.kind]
    elif selectors and manifest.kind == "PodDisruptionBudget":
        yield ("spec", "selector", "matchLabels")


def _apply_images(manifest: Manifest, tree: Tree) -> Manifest:
    changes = {entry["name"].raw or "": entry for entry in tree["images"].entries if entry["name"].raw}
    pod = manifest.pod if changes else None
    if pod is None:
        return manifest
    path = manifest.pod_path
    for key in ("initContainers", "containers"):
        containers = pod.spec[key]
        if containers:
            images = [_apply_image(entry, changes) for entry in containers.entries]
            manifest = replace(
                manifest, tree=put(manifest.tree, (*path, "spec", key), containers.replace_entries(images))
            )
    return manifest


def _apply_image(container: Tree, changes: Mapping[str, Tree]) -> Tree:
    image = container["image"]
    name, mark, version = split_image(image.raw or "")
    change = changes.get(name)
    if change is None:
        return container
    digest, tag = change["digest"].raw, change["newTag"].raw
    mark, version = ("@", digest) if digest else (":", tag) if tag else (mark, version)
    return put(container, ("image",), image.replace_raw(f"{change['newName'].raw or name}{mark}{version}"))


def split_image(image: str) -> tuple[str, str, str]:
    """Split an image into its name, the mark before its version (`:`, `@` or nothing), and the version."""
    name, at, digest = image.partition("@")
    head, _, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    name = f"{head}/{last}" if head else last
    return (name, at, digest) if at else (name, colon, tag)


def _generate_config_maps(kustomization: Document) -> Iterator[Manifest]:
    """Generate the ConfigMaps of a kustomization's literals."""
    for entry in kustomization.tree["configMapGenerator"].entries:
        data: dict[str, Tree] = {}
        for literal in entry["literals"].entries:
            name, _, value = (literal.raw or "").partition("=")
            if name:
                data[name] = literal.replace_raw(value.strip("\"'"))
        metadata = entry.replace_fields({key: entry[key] for key in ("name", "namespace") if entry[key]})
        tree = entry.replace_fields({"data": entry.replace_fields(data), "metadata": metadata})
        yield Manifest(
            tree=tree,
            written=entry,
            kind="ConfigMap",
            api_version="v1",
            name=entry["name"].raw,
            namespace=entry["namespace"].raw or DEFAULT_NAMESPACE,
        )
