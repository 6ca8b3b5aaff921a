"""The projects of an input: which Compose files are read together, merged as Docker Compose merges them.

A `compose.yaml` is read with the `compose.override.yaml` next to it. A file whose services have neither image nor build
only changes those of the base next to it: it is read over that base. Every other file is a project of its own, and so
is every block of a page.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from corral.linting.compose.merging import merge_services, normalize_service
from corral.linting.compose.services import ComposeService
from corral.linting.compose.variables import fill_tree, read_variables
from corral.linting.documents import Document, is_page, read_documents
from corral.linting.tree import Tree
from corral.linting.values import Source

_BASES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
"""Names that Docker Compose looks for, in its order."""
_OVERRIDES = tuple(name.replace("compose.", "compose.override.") for name in _BASES)
_NAMED = re.compile(r"(?:^|[-_.])compose(?:[-_.]|$)|^stack\.ya?ml$")
_DEEPEST = 10
"""Levels of `extends`; a cycle ends here too."""
_OF_OTHERS = ("jobs", "paths", "apiVersion", "stages")
"""Keys of other formats that have `services` as well: GitHub Actions, OpenAPI, Kubernetes, GitLab."""
VARIABLES = ".env"


@dataclass(frozen=True)
class Project:
    """The services that `docker compose up` starts together."""

    document: Document
    """Its file; of several, the one that is read last."""
    trees: tuple[Tree, ...]
    """Each file, with its variables filled in, in the order in which they are merged."""
    others: Mapping[str, Tree]
    """Every other Compose file, which `extends` and `include` can name."""
    sources: Mapping[str, str]
    """The text of every file of the input, files of variables among them."""

    @cached_property
    def services(self) -> tuple[ComposeService, ...]:
        """Its services, in the order of its files."""
        return tuple(
            ComposeService(name=name, tree=tree, project=self)
            for name, tree in self._merge_services().items()
            if tree.is_mapping
        )

    def _merge_services(self) -> dict[str, Tree]:
        merged: dict[str, Tree] = {}
        for tree in (*self._list_included(), *self.trees):
            for name, service in tree["services"].items:
                own = self._extend(tree, service, 0)
                merged[name] = merge_services(merged[name], own) if name in merged else own
        return merged

    def _extend(self, file: Tree, service: Tree, depth: int) -> Tree:
        """Put a service over the service that it extends."""
        own = normalize_service(service)
        extends = service["extends"]
        name = extends["service"].raw or extends.raw
        if name is None or depth > _DEEPEST:
            return own
        other = self._find_file(file, extends["file"].raw)
        base = other["services"][name] if other is not None else None
        return own if other is None or not base else merge_services(self._extend(other, base, depth + 1), own)

    def _find_file(self, file: Tree, path: str | None) -> Tree | None:
        if path is None:
            return file
        return self.others.get(posixpath.normpath(posixpath.join(posixpath.dirname(file.file), path)))

    def _list_included(self) -> Iterator[Tree]:
        for tree in self.trees:
            for entry in tree["include"].entries:
                for path in _list_paths(entry):
                    other = self._find_file(tree, path.raw) if path.raw else None
                    if other is not None:
                        yield other

    def read_env_file(self, path: str) -> dict[str, str]:
        """Read a file of variables that a service names; empty when it is not in the input."""
        folder = posixpath.dirname(_normalize(self.document.tree.file))
        return read_variables(self.sources.get(posixpath.normpath(posixpath.join(folder, path)), ""))

    @cached_property
    def is_whole(self) -> bool:
        """Whether everything that its files include or extend is there."""
        for tree in self.trees:
            for entry in tree["include"].entries:
                paths = [path.raw for path in _list_paths(entry) if path.raw]
                if not paths or any(self._find_file(tree, path) is None for path in paths):
                    return False
            for _, service in tree["services"].items:
                path = service["extends"]["file"].raw
                if path and self._find_file(tree, path) is None:
                    return False
        return True

    @cached_property
    def is_alone(self) -> bool:
        """Whether nothing is read with it: it has the usual name, or is the only Compose file around. A page shows
        parts, and files of other names are put together on the command line."""
        file = _normalize(self.document.tree.file)
        if is_page(file):
            return False
        names = {posixpath.basename(_normalize(tree.file)) for tree in self.trees}
        return bool(names & {*_BASES}) or set(self.others) == {file}

    @cached_property
    def has_base(self) -> bool:
        """Whether one of its files can be started: a file that only changes services of others cannot."""
        return any(service.tree["image"] or service.tree["build"] for service in self.services)

    def list_names(self, section: str) -> frozenset[str]:
        """List the names in a section (`services`, `volumes`, `networks`), those of the files next to it included:
        which of them are started together is unknown."""
        folder = posixpath.dirname(_normalize(self.document.tree.file))
        beside = [tree for file, tree in self.others.items() if posixpath.dirname(file) == folder]
        trees = (*self._list_included(), *self.trees, *beside)
        return frozenset(name for tree in trees for name in tree[section].keys)

    def get_section(self, name: str) -> dict[str, Tree]:
        """Get the entries of `volumes`, `networks` and so on, those of later files last."""
        return {key: value for tree in self.trees for key, value in tree[name].items}


def _has_services(document: Document) -> bool:
    """Return whether a document can be a Compose file, or one of services that others extend."""
    tree = document.tree
    return tree["services"].is_mapping and not any(tree[key] for key in _OF_OTHERS)


def is_compose(document: Document) -> bool:
    """Return whether a document is a Compose file, by what it holds: services with an image or a build."""
    tree = document.tree
    services = tree["services"]
    if not _has_services(document):
        return False
    values = [service for _, service in services.items]
    if any(service["image"] or service["build"] or service["extends"] for service in values):
        return True
    is_named = bool(_NAMED.search(posixpath.basename(tree.file.replace("\\", "/"))))
    return bool(values) and (is_named or is_page(tree.file)) and all(_is_change(service) for service in values)


def _is_change(service: Tree) -> bool:
    return service.is_mapping and bool(service.keys & {"deploy", "environment", "runtime", "gpus", "devices", "ports"})


def list_projects(documents: Iterable[Document], sources: Mapping[str, str]) -> Iterator[Project]:
    """List the projects of an input; `sources` are its files, `.env` among them."""
    documents = tuple(documents)
    files = [document for document in documents if is_compose(document)]
    texts = {_normalize(name): text for name, text in sources.items()}
    filled = {id(document): _fill(document, texts) for document in documents if _has_services(document)}
    named = {_normalize(document.tree.file): filled[id(document)] for document in documents if _has_services(document)}
    folders: dict[str, list[Document]] = defaultdict(list)
    for document in files:
        folders["" if is_page(document.tree.file) else posixpath.dirname(_normalize(document.tree.file))].append(
            document
        )
    for group in folders.values():
        for chain in _chain_files(group):
            yield Project(
                document=chain[-1],
                trees=tuple(filled[id(document)] for document in chain),
                others=named,
                sources=texts,
            )


def list_companions(source: Source) -> Iterator[str]:
    """List the files that a Compose file is read with: its variables, and what it includes and extends."""
    if "services" not in source.text or not source.name.lower().endswith((".yaml", ".yml")):
        return
    folder = posixpath.dirname(_normalize(source.name))
    for document in read_documents(source.name, source.text):
        if not isinstance(document, Document) or not is_compose(document):
            continue
        tree = document.tree
        paths: list[Tree] = [path for entry in tree["include"].entries for path in _list_paths(entry)]
        for _, service in tree["services"].items:
            paths += [service["extends"]["file"], service["env_file"]]
            paths += [path for entry in service["env_file"].entries for path in _list_paths(entry)]
        for name in (VARIABLES, *(path.raw for path in paths)):
            if name and not name.startswith(("oci://", "https://", "git@")):
                yield posixpath.normpath(posixpath.join(folder, name))


def _list_paths(entry: Tree) -> tuple[Tree, ...]:
    """The paths of an entry: of a short form, of one path, of several."""
    return (entry, entry["path"], *entry["path"].entries)


def _chain_files(documents: Sequence[Document]) -> Iterator[Sequence[Document]]:
    """List the files of a folder as they are read together."""
    by_name = {posixpath.basename(_normalize(document.tree.file)): document for document in documents}
    base = next((by_name[name] for name in _BASES if name in by_name), None)
    override = next((by_name[name] for name in _OVERRIDES if name in by_name), None)
    for document in documents:
        if is_page(document.tree.file):
            yield [document]
        elif document is base:
            yield [document] if override is None else [document, override]
        elif document is override and base is not None:
            continue
        else:
            yield [base, document] if base is not None and _changes(document, base) else [document]


def _changes(document: Document, base: Document) -> bool:
    """Return whether a file changes a service of the base: it has one without an image, or with less than the
    base says of it; a file that says everything anew is another choice."""
    there = base.tree["services"]
    return any(
        not (service["image"] or service["build"] or service["extends"])
        or (service.keys < (there[name].keys | _ADDED) and bool(there[name].keys - service.keys & {"volumes"}))
        for name, service in document.tree["services"].items
        if name in there.keys
    )


_ADDED = frozenset({"deploy", "gpus", "runtime", "devices", "environment", "group_add", "security_opt", "image"})
"""Fields that a file for one kind of GPU adds to a service."""


def _fill(document: Document, sources: Mapping[str, str]) -> Tree:
    name = _normalize(document.tree.file)
    variables = read_variables(sources.get(posixpath.join(posixpath.dirname(name), VARIABLES), ""))
    return fill_tree(document.tree, variables) if "$" in document.text else document.tree


def _normalize(name: str) -> str:
    return posixpath.normpath(name.replace("\\", "/"))
