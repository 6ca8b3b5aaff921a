"""Makes a cluster file of texts: reads them, joins what they say, writes it, and compares it with its rendering."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from corral.cluster import load
from corral.cluster.document import ClusterFileError
from corral.cluster.values import ServiceKind
from corral.errors import Problem
from corral.hardware.catalogue import find_gpu
from corral.importing.comparing import Difference, compare_rendered
from corral.importing.compose import read_projects
from corral.importing.kubernetes import read_objects
from corral.importing.litellm import is_model_list, read_model_lists
from corral.importing.machines import UNNAMED, complete_machines
from corral.importing.values import Gap, Imported, ImportedService
from corral.importing.writing import write_cluster_file
from corral.linting.corpus import Corpus
from corral.linting.kustomizing import NAMES
from corral.linting.values import Position, Source

_KUSTOMIZATION = "a kustomization is not applied: import what `kubectl kustomize` prints"
_NOT_IMPORTED = "not imported: no Compose file, and no Kubernetes object"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportAsked:
    """The input, and what a person adds to it."""

    sources: tuple[Source, ...]
    name: str
    """Of the cluster; it is fitted to what the file takes."""
    folder: str
    """The absolute folder that relative paths of the sources start from."""
    machine: str | None
    """The machine of Compose files, and of objects where nothing names a node; None where it has no name."""
    models: Mapping[str, Sequence[str]]
    """GPU models by node, as the catalogue names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportAnswer:
    """A cluster file, and how far it says what the input says."""

    text: str
    gaps: tuple[Gap, ...]
    """Every part of the input that the file does not have, in the order of the input."""
    differences: tuple[Difference, ...]
    """Fields that are understood, and rendered otherwise."""
    problems: tuple[Problem, ...]
    """The reasons for which the check of cluster files refuses the text; nothing can be rendered then."""
    services: int
    volumes: int
    nodes: int


def import_sources(asked: ImportAsked) -> ImportAnswer:
    """Import texts as a cluster file."""
    imported = _read(asked)
    text = write_cluster_file(imported, name=asked.name)
    differences: tuple[Difference, ...] = ()
    problems: tuple[Problem, ...] = ()
    try:
        cluster = load(text, filename="cluster.yaml", find_gpu=find_gpu)
    except ClusterFileError as error:
        problems = error.problems
    else:
        differences = compare_rendered(imported, cluster, text=text, machine=asked.machine or UNNAMED)
    return ImportAnswer(
        text=text,
        gaps=imported.gaps,
        differences=differences,
        problems=problems,
        services=len(imported.services),
        volumes=len(imported.volumes),
        nodes=len(imported.machines),
    )


def _read(asked: ImportAsked) -> Imported:
    corpus = Corpus(asked.sources)
    composed = read_projects(corpus.projects, machine=asked.machine or UNNAMED, folder=asked.folder)
    machine = asked.machine or UNNAMED
    manifests = (manifest for manifest in corpus.written_manifests if manifest.kind != "Kustomization")
    objects = read_objects(manifests, machine=machine)
    routed = read_model_lists(corpus.other_documents)
    services, doubled = _keep_first(_join_models([*objects.services, *composed.services], routed.services))
    volumes = tuple({volume.name: volume for volume in (*composed.volumes, *objects.volumes)}.values())
    machines = complete_machines(objects.machines, services, volumes, asked.models, named=asked.machine)
    gaps = {*objects.gaps, *composed.gaps, *routed.gaps, *doubled, *_list_unread(corpus)}
    return Imported(services=services, volumes=volumes, machines=machines, gaps=tuple(sorted(gaps)))


def _join_models(services: Sequence[ImportedService], routed: Sequence[ImportedService]) -> Iterable[ImportedService]:
    """Add what LiteLLM routes to: models go to the server of their name where the input deploys it."""
    servers = {service.name: service for service in routed}
    for service in services:
        named = servers.pop(service.name, None)
        is_server = named is not None and named.kind is ServiceKind.SERVER
        yield replace(service, models=named.models) if named is not None and is_server else service
        if named is not None and not is_server:
            yield named  # a second LiteLLM, which is listed
    yield from servers.values()


def _keep_first(services: Iterable[ImportedService]) -> tuple[tuple[ImportedService, ...], list[Gap]]:
    """Keep the first service of each name: names are unique in a cluster file."""
    kept: dict[str, ImportedService] = {}
    gaps: list[Gap] = []
    for service in services:
        if service.name in kept:
            gaps.append(Gap(service.place, f"a second service {service.name} is not imported: give it another name"))
        else:
            kept[service.name] = service
    return tuple(kept.values()), gaps


def _list_unread(corpus: Corpus) -> Iterable[Gap]:
    """List what is neither: texts that cannot be read, YAML of other programs, Nix, scripts."""
    for part in corpus.unread:
        yield Gap(part.place, part.why)
    used = {id(tree) for project in corpus.projects for tree in (project.document.tree,)}
    files = {tree.file for project in corpus.projects for tree in project.trees}
    for document in corpus.other_documents:
        if is_model_list(document):
            continue
        if posixpath.basename(document.tree.file) in NAMES and document.tree:
            yield Gap(document.tree.place, _KUSTOMIZATION)
            continue
        if document.tree and id(document.tree) not in used and (document.tree.file not in files or document.start):
            yield Gap(document.tree.place, f"{_NOT_IMPORTED}: {_name_keys(document.tree.keys)}")
    for manifest in corpus.written_manifests:
        if manifest.kind == "Kustomization":
            yield Gap(manifest.tree.place, _KUSTOMIZATION)
    for text in corpus.texts:
        if text.language == "nix":
            yield Gap(Position(text.file, text.line), "Nix is not imported; the flake of `corral render` replaces it")


def _name_keys(keys: frozenset[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "no mapping"
