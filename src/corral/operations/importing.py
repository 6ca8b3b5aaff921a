"""Imports what already runs as a cluster file: files and folders are read, or a live cluster is asked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.files import write_whole
from corral.hardware.catalogue import find_one_gpu
from corral.importing.live import write_objects
from corral.importing.making import ImportAnswer, ImportAsked, import_sources
from corral.kubernetes import Kubectl, KubernetesError
from corral.linting.values import Source
from corral.narrowing import as_list, as_object
from corral.operations.lint_sources import NothingToLintError, find_sources
from corral.work import Json

_KINDS = (
    "nodes,namespaces,deployments,statefulsets,daemonsets,jobs,cronjobs,services,ingresses,configmaps,"
    "persistentvolumeclaims,persistentvolumes"
)
"""No Secrets: their values are not for a cluster file."""
_NEWER_KINDS = "resourceclaimtemplates"
"""Kubernetes 1.34 and newer."""


class NothingToImportError(CorralError):
    """The input has no service and no machine."""

    code: ClassVar[str] = "import.nothing"
    kind: ClassVar[Kind] = Kind.MISSING


class ImportOptionError(ProblemsError):
    """Options of an import cannot be used; `problems` has each of them."""

    code: ClassVar[str] = "import.option"


class ImportExistsError(CorralError):
    """The file to write is there already."""

    code: ClassVar[str] = "import.exists"
    kind: ClassVar[Kind] = Kind.CONFLICT


class ImportUnwritableError(CorralError):
    """The cluster file cannot be written."""

    code: ClassVar[str] = "import.unwritable"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """An import, in the words of the command line."""

    paths: tuple[Path, ...] = ()
    gpus: tuple[str, ...] = ()
    """`NODE=MODEL,MODEL`: the GPUs of a node, in the order of their index."""
    node: str | None = None
    """The machine of Compose files."""
    name: str = "imported"


def import_files(request: ImportRequest) -> ImportAnswer:
    """Import files and folders. Raises: ProblemsError, ImportOptionError, NothingToImportError."""
    models = read_gpu_options(request.gpus)
    try:
        sources = find_sources(request.paths)
    except NothingToLintError as error:
        raise NothingToImportError(
            error.what.replace("nothing to lint", "nothing to import"), hint=error.hint
        ) from error
    return _import(sources, request, models)


def import_cluster(request: ImportRequest, kubectl: Kubectl) -> ImportAnswer:
    """Import a live cluster. Raises: KubernetesError, ImportOptionError, NothingToImportError."""
    models = read_gpu_options(request.gpus)
    return _import(tuple(write_objects(list_objects(kubectl))), request, models)


def list_objects(kubectl: Kubectl) -> list[Json]:
    """List the objects of a cluster that can be imported. Raises: KubernetesError."""
    objects = as_list(as_object(kubectl.get(_KINDS, "--all-namespaces")).get("items"))
    with suppress(KubernetesError):  # an older Kubernetes, where nothing claims GPUs
        objects += as_list(as_object(kubectl.get(_NEWER_KINDS, "--all-namespaces")).get("items"))
    return objects


def read_gpu_options(options: Iterable[str]) -> dict[str, Sequence[str]]:
    """Read `NODE=MODEL,MODEL` as models by node. Raises: ImportOptionError with every problem."""
    models: dict[str, Sequence[str]] = {}
    problems: list[Problem] = []
    for option in options:
        node, mark, named = option.partition("=")
        if not node or not mark or not named.strip():
            hint = 'write NODE=MODEL, such as pop-os="RTX 4090"'
            problems.append(Problem(code=ImportOptionError.code, what=f"not a GPU of a node: {option!r}", hint=hint))
            continue
        try:
            models[node] = tuple(find_one_gpu(name.strip()).name for name in named.split(","))
        except CorralError as error:
            where = f"--gpu {option}"
            problems.append(Problem(code=ImportOptionError.code, what=error.what, where=where, hint=error.hint))
    if problems:
        raise ImportOptionError(problems)
    return models


def write_imported(answer: ImportAnswer, file: Path, *, overwriting: bool) -> None:
    """Write the cluster file. Raises: ImportExistsError, ImportUnwritableError."""
    if file.exists() and not overwriting:
        raise ImportExistsError("the file exists", where=str(file), hint="choose another name, or add `--yes`")
    try:
        write_whole(file, answer.text)
    except OSError as error:
        raise ImportUnwritableError(
            f"cannot write: {error.strerror or error}", where=str(file), hint="name a place that you can write to"
        ) from error


def _import(sources: tuple[Source, ...], request: ImportRequest, models: dict[str, Sequence[str]]) -> ImportAnswer:
    asked = ImportAsked(sources=sources, name=request.name, folder=os.getcwd(), machine=request.node, models=models)
    answer = import_sources(asked)
    if not answer.services and not models and all(source.name[:5] != "Node/" for source in sources):
        listed = "; ".join(f"{gap.place}: {gap.what}" for gap in answer.gaps[:3])
        raise NothingToImportError(
            f"no service was found{f' ({listed})' if listed else ''}",
            hint="name Compose files, manifests, or what `helm template` prints; or use --from-cluster",
        )
    return answer
