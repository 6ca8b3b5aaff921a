"""Compose files: which GPU a service gets, and secrets in the open."""

from __future__ import annotations

from collections.abc import Iterator

from corral.cluster.secrecy import is_secret
from corral.linting.corpus import Scene
from corral.linting.reading.documents import Document
from corral.linting.registry import Found, checks
from corral.linting.tree import Tree
from corral.linting.values import Place


def _services(scene: Scene) -> Iterator[tuple[str, Tree]]:
    """Services of every Compose file among the documents."""
    for document in scene.fragments:
        yield from _services_of(document)


def _services_of(document: Document) -> Iterator[tuple[str, Tree]]:
    if not document.tree["jobs"] and not document.tree["paths"]:
        services = document.tree["services"]
        if services.is_mapping and not document.tree["apiVersion"]:
            for name, service in services.items:
                if service["image"] or service["build"]:
                    yield name, service


@checks("G11")
def same_card(scene: Scene) -> Iterator[Found]:
    """Look for a second service of a file that counts cards; on machines of one card they share it knowingly."""
    nodes = scene.cluster.nodes if scene.cluster else ()
    if nodes and all(node.gpus is not None and len(node.gpus) < _SEVERAL for node in nodes):
        return
    for document in scene.fragments:
        first: str | None = None
        for name, count in _counted(document):
            if first is not None and first != name:
                what = f"the service {name!r} counts {count.raw} GPU, as {first!r} does: both get the same"
                yield Found(place=count.place, what=what, subject=f"service {name}")
            first = first or name


_SEVERAL = 2


def _counted(document: Document) -> Iterator[tuple[str, Tree]]:
    """Services that always run and count cards, with the number."""
    for name, service in _services_of(document):
        for device in service.at("deploy", "resources", "reservations", "devices").entries:
            is_gpu = "gpu" in {one.raw for one in device["capabilities"].entries}
            if is_gpu and device["count"].number is not None and not service["profiles"]:
                yield name, device["count"]


@checks("G10")
def secret_in_file(scene: Scene) -> Iterator[Found]:
    """Look for variables that are called like secrets and have a value, in Compose files, containers and ConfigMaps."""
    for name, value, place, subject in _settings(scene):
        if is_secret(name, value):
            yield Found(place=place, what=f"{name} is written out", subject=subject)


def _settings(scene: Scene) -> Iterator[tuple[str, str, Place, object]]:
    for service_name, service in _services(scene):
        environment = service["environment"]
        for name, tree in environment.items:
            yield name, tree.raw or "", tree.place, f"service {service_name}"
        for entry in environment.entries:
            name, _, value = (entry.raw or "").partition("=")
            yield name, value, entry.place, f"service {service_name}"
    for one in scene.containers:
        for name, tree in one.env:
            yield name, tree.raw or "", tree.place, one.pod.owner
    for one in scene.of_kind("ConfigMap"):
        for name, tree in one.tree["data"].items:
            if "\n" not in (tree.raw or ""):
                yield name, tree.raw or "", tree.place, one
