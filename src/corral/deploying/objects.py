"""The objects of a layout, as `kubectl apply --kustomize` would apply the files that `corral render` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import yaml

from corral.cluster.values import Cluster
from corral.deploying.order import sort_objects
from corral.errors import CorralError, Kind
from corral.rendering.installation import Installation, namespace_of, resolve_installations
from corral.rendering.places import FindPlaces
from corral.rendering.targets import render_cluster
from corral.snapshot import Kind as ObjectKind
from corral.work import Json

_TARGETS = ("kubernetes", "kueue")
_ROOTS = ("kueue/{layout}", "kubernetes/overlays/{layout}")
"""Folders of kustomizations: a layout with its queues, else the layout alone."""


class NoKubernetesError(CorralError):
    """The cluster file describes no Kubernetes."""

    code: ClassVar[str] = "deploy.no_kubernetes"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutObjects:
    """The objects and labels of a layout on a cluster."""

    cluster: str
    """The name in the cluster file; label `app.kubernetes.io/part-of` of every object."""
    namespace: str
    """The namespace of services that name none, and of the state."""
    layout: str
    installation: Installation
    objects: tuple[Json, ...]
    """In the order in which they are applied."""
    node_labels: Mapping[str, Mapping[str, str | None]]
    """Labels to set, by node; None is one to remove."""
    notes: tuple[str, ...]
    """The parts of this layout that are left out or done by hand."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """All namespaces that it has objects in."""
        names = {value["metadata"].get("namespace") or "" for value in self.objects}
        return tuple(sorted((names | {self.namespace}) - {""}))

    @property
    def kinds(self) -> frozenset[ObjectKind]:
        """The kinds of its objects."""
        return frozenset(ObjectKind.read(value) for value in self.objects)


def make_layout_objects(
    cluster: Cluster, layout: str | None, *, source: str, text: str, find_places: FindPlaces | None = None
) -> LayoutObjects:
    """Make the objects of a layout: those in the files that are rendered for it; `layout` is None where there are none.

    The base is that of all layouts of the file, as in a folder that `corral render` writes.

    Raises: NoKubernetesError, and what `render_cluster` raises.
    """
    if cluster.kubernetes is None:
        raise NoKubernetesError(
            "the cluster file has no `kubernetes:`, so nothing is on a cluster",
            where=source,
            hint="add `kubernetes: {}` and run the command again",
        )
    chosen = () if layout is None else (layout,)
    (installation,) = resolve_installations(cluster, source=source, text=text, layouts=chosen, find_places=find_places)
    rendering = render_cluster(cluster, source=source, text=text, only=_TARGETS, find_places=find_places)
    roots = [root.format(layout=installation.name) for root in _ROOTS]
    root = next(folder for folder in roots if f"{folder}/kustomization.yaml" in rendering.files)
    return LayoutObjects(
        cluster=cluster.name,
        namespace=namespace_of(cluster),
        layout=installation.name,
        installation=installation,
        objects=sort_objects(_read_kustomization(rendering.files, root)),
        node_labels=_read_node_labels(rendering.files),
        notes=_choose_notes(rendering.notes, installation.name),
    )


def _read_kustomization(files: Mapping[str, str], folder: str) -> Iterator[Json]:
    """Read the objects that a kustomization lists, those of the folders below it included."""
    for entry in yaml.load(files[f"{folder}/kustomization.yaml"], yaml.CSafeLoader)["resources"]:
        path = _join_path(folder, entry)
        if path in files:
            yield from (value for value in yaml.load_all(files[path], yaml.CSafeLoader) if value)
        else:
            yield from _read_kustomization(files, path)


def _join_path(folder: str, entry: str) -> str:
    parts = folder.split("/")
    for part in entry.split("/"):
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _read_node_labels(files: Mapping[str, str]) -> Mapping[str, Mapping[str, str | None]]:
    prefix = "kubernetes/nodes/"
    return {
        path.removeprefix(prefix).removesuffix(".yaml"): yaml.load(text, yaml.CSafeLoader)["metadata"]["labels"]
        for path, text in files.items()
        if path.startswith(prefix)
    }


def _choose_notes(notes: tuple[str, ...], layout: str) -> tuple[str, ...]:
    own = f"layout {layout}: "
    return tuple(note.removeprefix(own) for note in notes if note.startswith(own) or not note.startswith("layout "))
