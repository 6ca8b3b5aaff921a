"""Compose files: which GPU a service gets, and secrets in the open."""

from __future__ import annotations

from collections.abc import Iterator

from corral.cluster.secrecy import is_secret
from corral.linting.corpus import Corpus
from corral.linting.documents import Document
from corral.linting.registry import Violation, checks
from corral.linting.tree import Tree
from corral.linting.values import Position


def _list_services(corpus: Corpus) -> Iterator[tuple[str, Tree]]:
    """Services of every Compose file among the documents."""
    for document in corpus.other_documents:
        yield from _list_document_services(document)


def _list_document_services(document: Document) -> Iterator[tuple[str, Tree]]:
    if not document.tree["jobs"] and not document.tree["paths"]:
        services = document.tree["services"]
        if services.is_mapping and not document.tree["apiVersion"]:
            for name, service in services.items:
                if service["image"] or service["build"]:
                    yield name, service


@checks("G11")
def check_same_gpu(corpus: Corpus) -> Iterator[Violation]:
    """Look for a second service of a file that counts GPUs; on machines of one GPU they share it knowingly."""
    nodes = corpus.cluster.nodes if corpus.cluster else ()
    if nodes and all(node.gpus is not None and len(node.gpus) < _SEVERAL for node in nodes):
        return
    for document in corpus.other_documents:
        first: str | None = None
        for name, count in _list_counted_gpus(document):
            if first is not None and first != name:
                what = f"the service {name!r} counts {count.raw} GPU, as {first!r} does: both get the same"
                yield Violation(place=count.place, what=what, subject=f"service {name}")
            first = first or name


_SEVERAL = 2


def _list_counted_gpus(document: Document) -> Iterator[tuple[str, Tree]]:
    """Services that always run and count GPUs, with the number."""
    for name, service in _list_document_services(document):
        for device in service.follow("deploy", "resources", "reservations", "devices").entries:
            is_gpu = "gpu" in {capability.raw for capability in device["capabilities"].entries}
            if is_gpu and device["count"].number is not None and not service["profiles"]:
                yield name, device["count"]


@checks("G10")
def check_secrets(corpus: Corpus) -> Iterator[Violation]:
    """Look for variables that are called like secrets and have a value, in Compose files, containers and ConfigMaps."""
    for name, value, place, subject in _list_settings(corpus):
        if is_secret(name, value):
            yield Violation(place=place, what=f"{name} is written out", subject=subject)


def _list_settings(corpus: Corpus) -> Iterator[tuple[str, str, Position, object]]:
    for service_name, service in _list_services(corpus):
        environment = service["environment"]
        for name, tree in environment.items:
            yield name, tree.raw or "", tree.place, f"service {service_name}"
        for entry in environment.entries:
            name, _, value = (entry.raw or "").partition("=")
            yield name, value, entry.place, f"service {service_name}"
    for container in corpus.containers:
        for name, tree in container.env:
            yield name, tree.raw or "", tree.place, container.pod.owner
    for config_map in corpus.list_kind("ConfigMap"):
        for name, tree in config_map.tree["data"].items:
            if "\n" not in (tree.raw or ""):
                yield name, tree.raw or "", tree.place, config_map
