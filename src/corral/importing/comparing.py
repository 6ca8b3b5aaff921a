"""Compares what was imported with what is rendered from it: both are read in the same way, and field by field.

What rendering adds (accounts, policies, probes, limits of privileges) is not a difference; what it changes or leaves
out is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from corral.cluster.values import Cluster
from corral.importing.compose import read_projects
from corral.importing.kubernetes import read_objects
from corral.importing.litellm import read_model_lists
from corral.importing.values import Imported, ImportedService, ImportedVolume, Origin
from corral.importing.writing import LAYOUT
from corral.linting.corpus import Corpus
from corral.linting.values import Source
from corral.rendering.names import dns_name
from corral.rendering.targets import render_cluster

_NOTHING = "nothing"
_SERVICE_FIELDS = (
    "namespace", "image", "command", "port", "replicas", "gpus", "node", "health_path", "memory_request",
    "memory_limit", "is_job",
)  # fmt: skip
_VOLUME_FIELDS = ("kind", "server", "path", "size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A field that rendering writes otherwise than the input has it."""

    subject: str
    """The service or volume."""
    field: str
    before: str
    """As the input has it."""
    after: str
    """As it is rendered."""


def compare_rendered(imported: Imported, cluster: Cluster, *, text: str, machine: str) -> tuple[Difference, ...]:
    """Render the cluster file of an import, read that again, and list the differences in the order of the input."""
    differences: list[Difference] = []
    for origin in dict.fromkeys(service.origin for service in imported.services):
        files = render_cluster(cluster, source="import", text=text, layouts=[LAYOUT], only=[origin.value]).files
        rendered = _read_again(files, origin, machine)
        services = {_get_name(service): service for service in rendered.services}
        for service in imported.services:
            if service.origin is origin:
                differences += _compare_service(service, services.get(dns_name(service.name)), imported, rendered)
    return tuple(differences)


def _read_again(files: Mapping[str, str], origin: Origin, machine: str) -> Imported:
    corpus = Corpus(Source(name=path, text=text) for path, text in files.items() if path.endswith(".yaml"))
    if origin is Origin.LITELLM:
        return read_model_lists(corpus.other_documents)
    if origin is Origin.COMPOSE:
        return read_projects(corpus.projects, machine=machine, folder="/")
    manifests = (manifest for manifest in corpus.written_manifests if "/nodes/" not in manifest.file)
    return read_objects(manifests, machine=machine)


def _get_name(service: ImportedService) -> str:
    """The name of a rendered service, as DNS takes it."""
    return dns_name(service.name)


def _compare_service(
    before: ImportedService, after: ImportedService | None, imported: Imported, rendered: Imported
) -> Iterator[Difference]:
    if after is None:
        why = "it names no image" if before.image is None else "it is not rendered"
        yield Difference(subject=before.name, field="service", before="a service", after=why)
        return
    for field in _SERVICE_FIELDS:
        old, new = getattr(before, field), getattr(after, field)
        if _is_set(old) and old != new and (field != "node" or before.origin is Origin.KUBERNETES):
            yield _make(before, field, old, new)
    for name, model in before.served.items():
        if after.served.get(name) != model:
            yield _make(before, f"models.{name}", model, after.served.get(name))
    for name, value in before.env.items():
        if after.env.get(name) != value:
            yield _make(before, f"env.{name}", value, after.env.get(name))
    for name, key in before.secrets.items():
        if name not in after.secrets or (before.origin is Origin.KUBERNETES and after.secrets[name] != key):
            yield _make(before, f"secrets.{name}", f"{key.secret}/{key.key}", after.secrets.get(name))
    yield from _compare_exposure(before, after)
    if before.replicas > 1 and before.has_addresses_of_replicas != after.has_addresses_of_replicas:
        old, new = ("one for each replica", "one for all replicas")[:: 1 if before.has_addresses_of_replicas else -1]
        yield _make(before, "addresses", old, new)
    yield from _compare_mounts(before, after, imported, rendered)


def _compare_exposure(before: ImportedService, after: ImportedService) -> Iterator[Difference]:
    if before.exposed is None:
        return
    old = (before.exposed.kind, before.exposed.port)
    new = (after.exposed.kind, after.exposed.port) if after.exposed else None
    if old != new:
        yield _make(before, "exposed", old, new)


def _compare_mounts(
    before: ImportedService, after: ImportedService, imported: Imported, rendered: Imported
) -> Iterator[Difference]:
    """Compare by path: volumes can have other names, as long as they lead to the same place."""
    old_volumes = {volume.name: volume for volume in imported.volumes}
    new_volumes = {volume.name: volume for volume in rendered.volumes}
    by_path = {path: name for name, path in after.mounts.items()}
    for name, path in before.mounts.items():
        new = new_volumes.get(by_path.get(path, ""))
        if new is None:
            yield _make(before, f"mounts.{name}", path, None)
            continue
        yield from _compare_volume(before, old_volumes[name], new)


def _compare_volume(service: ImportedService, before: ImportedVolume, after: ImportedVolume) -> Iterator[Difference]:
    for field in _VOLUME_FIELDS:
        old, new = getattr(before, field), getattr(after, field)
        if old is not None and old != new and not (field == "size" and service.origin is Origin.COMPOSE):
            yield _make(service, f"storage.{before.name}.{field}", old, new)


def _make(service: ImportedService, field: str, before: object, after: object) -> Difference:
    return Difference(subject=service.name, field=field, before=_show(before), after=_show(after))


def _is_set(value: object) -> bool:
    return value not in (None, (), 0, False)


def _show(value: object) -> str:
    if not _is_set(value):
        return _NOTHING
    if isinstance(value, tuple):
        return " ".join(str(part) for part in cast("tuple[object, ...]", value))  # isinstance does not check entries
    return str(value)
