"""Values, fields and keys that Kubernetes reads differently, and comments that contradict their value."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.compose import fields as compose
from corral.linting.corpus import Corpus, Spot
from corral.linting.documents import is_page
from corral.linting.manifests import find_unknown_fields, has_known_fields
from corral.linting.registry import Violation, checks
from corral.linting.rules.gpu_selection import HOSTNAME
from corral.linting.tree import Tree
from corral.linting.values import Severity

_TEXT_MAPS = ("labels", "matchLabels", "nodeSelector", "annotations")
_READ_AS_BOOLEAN = frozenset({"y", "n", "Y", "N"})
"""YAML 1.1, as Kubernetes reads it; PyYAML takes these four for text."""


@checks("A21", of_files=True)
def check_text_values(corpus: Corpus) -> Iterator[Violation]:
    """Look for numbers and booleans where Kubernetes takes text."""
    for spot in corpus.find_under(*_TEXT_MAPS):
        if not _is_text_map(spot):
            continue  # other formats have labels of their own
        for name, value in spot.tree.items:
            if _is_wrong(value):
                yield _make_violation(
                    value, f"{spot.path[-1]} {name!r} is {_describe_kind(value)}, not text", spot.subject
                )
    for spot in corpus.find_under("env"):
        if not _is_known(spot) and not _is_in_page(spot):
            continue
        for entry in spot.tree.entries:
            value = entry["value"]
            if entry["name"] and _is_wrong(value):
                yield _make_violation(
                    value, f"the variable {entry['name'].raw!r} is {_describe_kind(value)}, not text", spot.subject
                )


def _is_text_map(spot: Spot) -> bool:
    """Return whether a mapping is one of Kubernetes' own: of a built-in kind, of metadata, or in a page."""
    if _is_known(spot):
        return True
    if spot.document.tree["apiVersion"]:
        return spot.path[:-1] == ("metadata",)
    return _is_in_page(spot) and (spot.path[-1] == "nodeSelector" or spot.path[0] in ("metadata", "spec"))


def _is_known(spot: Spot) -> bool:
    tree = spot.document.tree
    kind = tree["kind"].text or ""
    return kind.endswith("List") or has_known_fields(tree["apiVersion"].text or "", kind)


def _is_in_page(spot: Spot) -> bool:
    """Return whether it is a part of a manifest in a page; the meaning of a whole file without a kind is unknown."""
    return not spot.document.tree["apiVersion"] and is_page(spot.tree.file)


def _is_wrong(value: Tree) -> bool:
    if not value or value.is_mapping or value.is_list or value.raw is None:
        return False
    if value.kind in ("int", "float", "bool", "timestamp"):
        return True
    return value.kind == "str" and not value.is_quoted and value.raw in _READ_AS_BOOLEAN


def _describe_kind(value: Tree) -> str:
    named = {"int": "a number", "float": "a number", "timestamp": "a date"}
    return f"{named.get(value.kind, 'a boolean')} ({value.raw})"


def _make_violation(value: Tree, what: str, subject: str) -> Violation:
    return Violation(place=value.place, what=what, subject=subject, edits=value.edit(f'"{value.raw}"'))


_ELLIPSES = frozenset({"...", "\u2026"})
"""What pages write for the rest: `deploy: {...}`."""


@checks("A22", of_files=True)
def check_unknown_fields(corpus: Corpus) -> Iterator[Violation]:
    """Look for keys that the models of the built-in kinds do not have; other kinds are unknown and not checked."""
    for manifest in corpus.written_manifests:
        for tree, name, where, suggestion in find_unknown_fields(manifest):
            if name in _ELLIPSES:
                continue
            hint = f"; did you mean {suggestion!r}?" if suggestion else ""
            yield Violation(place=tree.key or tree.place, what=f"{where} has no field {name!r}{hint}", subject=manifest)
    for project in corpus.projects:
        for tree, name, where, suggestion in compose.find_unknown_fields(project.document.tree):
            if name in _ELLIPSES:
                continue
            hint = f"; did you mean {suggestion!r}?" if suggestion else ""
            known = None if suggestion else Severity.WARNING  # a newer Compose can have it
            yield Violation(
                place=tree.key or tree.place, what=f"{where or 'Compose'} has no field {name!r}{hint}", severity=known
            )


@checks("A34", of_files=True)
def check_duplicate_keys(corpus: Corpus) -> Iterator[Violation]:
    """Look for keys of the same text in one mapping, in every file, and in the objects of pages."""
    for mapping, subject in corpus.mappings_with_duplicates:
        if not subject and is_page(mapping.file):
            continue  # a page shows choices below each other
        for name, place in mapping.duplicates:
            yield Violation(place=place, what=f"{name!r} occurs twice; the last one wins", subject=subject)


_COMMENT = re.compile(r"(?:^|\s)#(?P<words>.*)$")
_SEVERAL = 2
_WORD = re.compile(r"[a-z0-9](?:[-.a-z0-9]*[a-z0-9])?")


@checks("E10")
def check_comments_on_nodes(corpus: Corpus) -> Iterator[Violation]:
    """Look for comments on the line of a host name that name other nodes of the cluster file, and not that one."""
    nodes = {node.name for node in (corpus.cluster.nodes if corpus.cluster else ())}
    in_a_comment = re.compile(rf"#[^\n]*(?:{'|'.join(map(re.escape, sorted(nodes)))})", re.IGNORECASE)
    if len(nodes) < _SEVERAL or not any(in_a_comment.search(text) for text in corpus.sources.values()):
        return  # no need to walk through every manifest
    for manifest in corpus.manifests:
        for tree in _list_hosts(manifest.tree):
            named = set(_WORD.findall(_read_comment(corpus, tree))) & nodes
            if tree.raw in nodes and named and tree.raw not in named:
                what = f"{tree.raw} here, {' and '.join(sorted(named))} in the comment"
                yield Violation(place=tree.place, what=what, subject=manifest)


def _list_hosts(tree: Tree) -> Iterator[Tree]:
    """Every host name that an object is bound to: in a selector, or in an expression."""
    for path, value in tree.walk():
        if path[-1:] == (HOSTNAME,):
            yield value
        elif value.is_mapping and value["key"].raw == HOSTNAME:
            yield from value["values"].entries


def _read_comment(corpus: Corpus, tree: Tree) -> str:
    """The comment on the line of a value; empty when there is none."""
    lines = corpus.split_lines(tree.file)
    number = tree.place.line
    match = _COMMENT.search(lines[number - 1]) if number <= len(lines) else None
    return match["words"].lower() if match else ""
