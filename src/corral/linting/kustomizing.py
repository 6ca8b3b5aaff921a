"""What a kustomization makes of its files: the objects as they are applied, each value with the place it comes from.

A build is what one kustomization deploys that no other lists: overlays over one base are alternatives, and each is
judged for itself. Done as kustomize does it, as far as rules look: resources, components, strategic merge and JSON
patches, namespace, prefix and suffix, labels, replicas, images, generated ConfigMaps. What is fetched (remote bases,
charts) is not there, and `is_whole` says so.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from corral.linting.objects import CLUSTER_SCOPED, DEFAULT_NAMESPACE, Object, read_objects
from corral.linting.patching import merged, patched_by_operations, put, removed_by
from corral.linting.reading.documents import Document, read_documents
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
"""Kustomizations below each other; a cycle ends here too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What one kustomization deploys."""

    folder: str
    objects: tuple[Object, ...]


def normal(path: str) -> str:
    """A path without `.`, `..` and backslashes."""
    return posixpath.normpath(path.replace("\\", "/"))


def is_kustomization(document: Document) -> bool:
    """Tell whether a document is a kustomization or a component."""
    version = document.tree["apiVersion"].raw or "kustomize.config.k8s.io"
    if not version.startswith("kustomize.config.k8s.io"):
        return False  # Flux has a kind of the same name
    return posixpath.basename(normal(document.tree.file)) in NAMES or document.tree["kind"].raw in _KINDS


def is_fetched(entry: str) -> bool:
    """Tell whether a resource is a remote one."""
    return "://" in entry or "?ref=" in entry or entry.startswith(("github.com/", "git@", "gitlab.com/"))


def listed_by(source: Source) -> Iterator[str]:
    """Paths of what a kustomization lists and patches with; nothing for any other file."""
    if posixpath.basename(normal(source.name)) not in NAMES:
        return
    documents = [one for one in read_documents(source.name, source.text) if isinstance(one, Document)]
    yield from sorted(Kustomizing(documents).files)


class Kustomizing:
    """All kustomizations of an input."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._documents: dict[str, list[Document]] = {}
        self._listed: dict[str, Document] = {}
        for one in documents:
            if is_kustomization(one):
                self._listed.setdefault(posixpath.dirname(normal(one.tree.file)) or ".", one)
            else:
                self._documents.setdefault(normal(one.tree.file), []).append(one)

    @cached_property
    def documents(self) -> tuple[Document, ...]:
        """The kustomizations."""
        return tuple(self._listed.values())

    @cached_property
    def is_whole(self) -> bool:
        """Tell whether everything that is deployed stands in the files: nothing is fetched, no chart is filled."""
        return not any(
            one.tree["helmCharts"] or one.tree["generators"] or one.tree["transformers"] or self._is_open(folder, one)
            for folder, one in self._listed.items()
        )

    def _is_open(self, folder: str, one: Document) -> bool:
        """Tell whether a resource is a remote one or lies outside of the input."""
        paths = [(entry, self._path(folder, entry)) for entry in self._entries(one, "resources", "components", "bases")]
        return any(
            is_fetched(entry) or (path not in self._listed and path not in self._documents) for entry, path in paths
        )

    @cached_property
    def builds(self) -> tuple[Build, ...]:
        """What each kustomization deploys that no other lists, and that is no component."""
        below = {
            self._path(folder, entry)
            for folder, one in self._listed.items()
            for entry in self._entries(one, "resources", "components", "bases")
        }
        tops = [
            folder
            for folder, one in self._listed.items()
            if folder not in below and one.tree["kind"].raw != "Component"
        ]
        return tuple(Build(folder=folder, objects=tuple(self._built(folder, 0))) for folder in tops)

    @cached_property
    def files(self) -> frozenset[str]:
        """Every file that a kustomization lists, as a resource or as a patch, and the kustomizations themselves."""
        found = {normal(one.tree.file) for one in self._listed.values()}
        for folder, one in self._listed.items():
            named = list(self._entries(one, "resources", "components", "bases", "patchesStrategicMerge", "crds"))
            named += [entry["path"].raw or "" for entry in one.tree["patches"].entries]
            named += [entry["path"].raw or "" for entry in one.tree["patchesJson6902"].entries]
            named += [entry["path"].raw or "" for entry in one.tree["replacements"].entries]
            named += [entry.raw or "" for key in ("configurations", "transformers") for entry in one.tree[key].entries]
            found |= {self._path(folder, entry) for entry in named if entry and "\n" not in entry}
        return frozenset(found)

    def _entries(self, one: Document, *keys: str) -> Iterator[str]:
        return (entry.raw for key in keys for entry in one.tree[key].entries if entry.raw)

    def _path(self, folder: str, entry: str) -> str:
        return normal(posixpath.join(folder, entry))

    def _built(self, folder: str, depth: int) -> list[Object]:
        one = self._listed.get(folder)
        if one is None or depth > _DEEPEST:
            return []
        return self._transformed(folder, one, self._gathered(folder, one, depth), depth)

    def _gathered(self, folder: str, one: Document, depth: int) -> list[Object]:
        objects: list[Object] = []
        for entry in self._entries(one, "resources", "bases"):
            path = self._path(folder, entry)
            if path in self._listed:
                objects += self._built(path, depth + 1)
            for document in self._documents.get(path, ()):
                objects += read_objects(document.tree, None)
        objects += _generated(one)
        return objects

    def _transformed(self, folder: str, one: Document, objects: list[Object], depth: int) -> list[Object]:
        for entry in self._entries(one, "components"):
            path = self._path(folder, entry)
            component = self._listed.get(path)
            if component is not None and depth < _DEEPEST:
                objects = objects + self._gathered(path, component, depth + 1)
                objects = self._transformed(path, component, objects, depth + 1)
        for patch in self._patches(folder, one):
            objects = [kept for each in objects if (kept := patch.on(each)) is not None]
        return [_with_images(_with_settings(each, one.tree), one.tree) for each in objects]

    def _patches(self, folder: str, one: Document) -> Iterator[Patch]:
        for entry in one.tree["patchesStrategicMerge"].entries:
            yield from (Patch(text, _NO_TARGET) for text in self._texts(folder, entry, entry))
        for key in ("patches", "patchesJson6902"):
            for entry in one.tree[key].entries:
                for text in self._texts(folder, entry["path"], entry["patch"]):
                    yield Patch(text, entry["target"])

    def _texts(self, folder: str, path: Tree, inline: Tree) -> Iterator[Tree]:
        """The documents of a patch: those of its file, or what is written in place."""
        if path.raw and "\n" not in path.raw:
            yield from (document.tree for document in self._documents.get(self._path(folder, path.raw), ()))
        elif inline.raw:
            place = inline.place
            for read in read_documents(place.file, inline.raw, line=place.line + 1, start=None):
                if isinstance(read, Document):
                    yield read.tree


_NO_TARGET = Tree(None, "", 0)


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch and what it is for."""

    text: Tree
    target: Tree

    def on(self, one: Object) -> Object | None:
        """The object with the patch; None when the patch deletes it."""
        if not self._is_for(one):
            return one
        if self.text.is_list:
            return replace(one, tree=patched_by_operations(one.tree, self.text.entries))
        if removed_by(self.text):
            return None
        return replace(one, tree=merged(one.tree, _without_name(self.text)))

    def _is_for(self, one: Object) -> bool:
        if self.target:
            return _is_target(self.target, one)
        metadata = self.text["metadata"]
        space = metadata["namespace"].raw
        named = metadata["name"].raw in {one.name, *one.was_called}
        return named and self.text["kind"].raw == one.kind and space in (None, one.namespace, _own_namespace(one))


def _is_target(target: Tree, one: Object) -> bool:
    labels = {key: value.raw for key, value in one.tree["metadata"]["labels"].items}
    selector = target["labelSelector"].raw or ""
    pairs = [part.partition("=") for part in selector.split(",") if "=" in part and "!" not in part]
    return (
        _fits(target["kind"], [one.kind])
        and _fits(target["name"], [name for name in (one.name, *one.was_called) if name])
        and _fits(target["namespace"], [one.namespace, _own_namespace(one)])
        and _fits(target["group"], [one.group])
        and all(labels.get(key.strip()) == value.strip("= ") for key, _, value in pairs)
    )


def _fits(pattern: Tree, values: Sequence[str]) -> bool:
    """Tell whether one of the values is what a target asks for: a regular expression over the whole of it."""
    if pattern.raw is None:
        return True
    if len(pattern.raw) > _LONGEST_PATTERN or _SLOW_PATTERN.search(pattern.raw):
        return False
    try:
        return any(re.fullmatch(pattern.raw, value) for value in values)
    except re.error:
        return False


def _own_namespace(one: Object) -> str:
    return one.tree["metadata"]["namespace"].raw or DEFAULT_NAMESPACE


def _without_name(text: Tree) -> Tree:
    """A patch whose own name and kind change nothing: it may be for many."""
    metadata = text["metadata"].with_fields({key: tree for key, tree in text["metadata"].items if key != "name"})
    fields = {key: tree for key, tree in text.items if key not in ("kind", "apiVersion", "metadata")}
    return text.with_fields({**fields, "metadata": metadata} if text["metadata"] else fields)


def _with_settings(one: Object, tree: Tree) -> Object:
    """An object with the namespace, name, labels and replicas of a kustomization."""
    namespace = tree["namespace"].raw
    if namespace and one.kind not in CLUSTER_SCOPED:
        one = replace(one, namespace=namespace)
    elif namespace and one.kind == "Namespace":
        one = replace(one, name=namespace, was_called=frozenset({*one.was_called, one.name or ""}))
    prefix, suffix = tree["namePrefix"].raw or "", tree["nameSuffix"].raw or ""
    for entry in tree["replicas"].entries:
        if one.kind in _SCALED and entry["name"].raw in {one.name, *one.was_called} and entry["count"]:
            one = replace(one, tree=put(one.tree, ("spec", "replicas"), entry["count"]))
    if (prefix or suffix) and one.name and one.kind not in _KEEPS_NAME:
        called = f"{prefix}{one.name}{suffix}"
        one = replace(one, name=called, was_called=frozenset({*one.was_called, one.name}))
    return _with_labels(one, tree)


def _with_labels(one: Object, tree: Tree) -> Object:
    one = _labelled(one, tree["commonLabels"], selectors=True, templates=True)
    for entry in tree["labels"].entries:
        selectors = bool(entry["includeSelectors"].boolean)
        templates = selectors or bool(entry["includeTemplates"].boolean)
        one = _labelled(one, entry["pairs"], selectors=selectors, templates=templates)
    return one


def _labelled(one: Object, pairs: Tree, *, selectors: bool, templates: bool) -> Object:
    for path in _label_paths(one, selectors=selectors, templates=templates) if pairs.is_mapping else ():
        both = merged(one.tree.at(*path), pairs) if one.tree.at(*path) else pairs
        one = replace(one, tree=put(one.tree, path, both))
    return one


def _label_paths(one: Object, *, selectors: bool, templates: bool) -> Iterator[tuple[str, ...]]:
    yield ("metadata", "labels")
    if templates and one.kind in _TEMPLATED:
        start = ("spec", "jobTemplate") if one.kind == "CronJob" else ()
        yield (*start, "spec", "template", "metadata", "labels")
    if selectors and one.kind in _TEMPLATED and one.tree["spec"]["selector"]:
        yield ("spec", "selector", "matchLabels")
    elif selectors and one.kind in _SELECTED and one.tree.at(*_SELECTED[one.kind]):
        yield _SELECTED[one.kind]
    elif selectors and one.kind == "PodDisruptionBudget":
        yield ("spec", "selector", "matchLabels")


def _with_images(one: Object, tree: Tree) -> Object:
    changes = {entry["name"].raw or "": entry for entry in tree["images"].entries if entry["name"].raw}
    pod = one.pod if changes else None
    if pod is None:
        return one
    path = one.pod_path
    for key in ("initContainers", "containers"):
        containers = pod.spec[key]
        if containers:
            images = [_with_image(each, changes) for each in containers.entries]
            one = replace(one, tree=put(one.tree, (*path, "spec", key), containers.with_entries(images)))
    return one


def _with_image(container: Tree, changes: Mapping[str, Tree]) -> Tree:
    image = container["image"]
    name, mark, version = split_image(image.raw or "")
    change = changes.get(name)
    if change is None:
        return container
    digest, tag = change["digest"].raw, change["newTag"].raw
    mark, version = ("@", digest) if digest else (":", tag) if tag else (mark, version)
    return put(container, ("image",), image.with_raw(f"{change['newName'].raw or name}{mark}{version}"))


def split_image(image: str) -> tuple[str, str, str]:
    """A name of an image, the mark before its version (`:`, `@` or nothing), and the version."""
    name, at, digest = image.partition("@")
    head, _, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    name = f"{head}/{last}" if head else last
    return (name, at, digest) if at else (name, colon, tag)


def _generated(one: Document) -> Iterator[Object]:
    """The ConfigMaps that a kustomization makes of what it writes itself."""
    for entry in one.tree["configMapGenerator"].entries:
        data: dict[str, Tree] = {}
        for literal in entry["literals"].entries:
            name, _, value = (literal.raw or "").partition("=")
            if name:
                data[name] = literal.with_raw(value.strip("\"'"))
        metadata = entry.with_fields({key: entry[key] for key in ("name", "namespace") if entry[key]})
        tree = entry.with_fields({"data": entry.with_fields(data), "metadata": metadata})
        yield Object(
            tree=tree,
            written=entry,
            kind="ConfigMap",
            api_version="v1",
            name=entry["name"].raw,
            namespace=entry["namespace"].raw or DEFAULT_NAMESPACE,
        )
