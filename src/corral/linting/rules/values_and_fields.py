"""Values of the wrong kind, and fields that do not exist."""

from __future__ import annotations

from collections.abc import Iterator

from corral.linting.fields import is_known, unknown_fields
from corral.linting.reading.markdown import is_page
from corral.linting.registry import Found, checks
from corral.linting.scene import Scene, Spot
from corral.linting.tree import Tree
from corral.linting.values import Rule, Severity

_TEXT_MAPS = ("labels", "matchLabels", "nodeSelector", "annotations")
_READ_AS_BOOLEAN = frozenset({"y", "n", "Y", "N"})
"""YAML 1.1, as Kubernetes reads it; PyYAML takes these four for text."""


@checks(
    Rule(
        id="A21",
        name="label-value-not-string",
        severity=Severity.ERROR,
        summary="a label, selector, annotation or variable whose value is no text",
        practice="The API server refuses the object: `cannot unmarshal number into Go struct field ... of type "
        "string`.",
        source="reproduced on Kubernetes 1.36; YAML 1.1 reads y, n, on and off as booleans too",
        fix="Put the value in quotes.",
    )
)
def not_text(scene: Scene) -> Iterator[Found]:
    """Look for numbers and booleans where Kubernetes takes text."""
    for spot in scene.under(*_TEXT_MAPS):
        if not _is_text_map(spot):
            continue  # other formats have labels of their own
        for name, value in spot.tree.items:
            if _is_wrong(value):
                yield _found(value, f"{spot.path[-1]} {name!r} is {_kind(value)}, not text", spot.subject)
    for spot in scene.under("env"):
        if not _is_known(spot) and not _is_in_page(spot):
            continue
        for entry in spot.tree.entries:
            value = entry["value"]
            if entry["name"] and _is_wrong(value):
                yield _found(value, f"the variable {entry['name'].raw!r} is {_kind(value)}, not text", spot.subject)


def _is_text_map(spot: Spot) -> bool:
    """Tell whether a mapping is one of Kubernetes' own: of a built-in kind, of any object's metadata, or in a page."""
    if _is_known(spot):
        return True
    if spot.document.tree["apiVersion"]:
        return spot.path[:-1] == ("metadata",)
    return _is_in_page(spot) and (spot.path[-1] == "nodeSelector" or spot.path[0] in ("metadata", "spec"))


def _is_known(spot: Spot) -> bool:
    tree = spot.document.tree
    kind = tree["kind"].text or ""
    return kind.endswith("List") or is_known(tree["apiVersion"].text or "", kind)


def _is_in_page(spot: Spot) -> bool:
    """Tell whether it is a part of a manifest in a page; what a whole file without a kind means is not known."""
    return not spot.document.tree["apiVersion"] and is_page(spot.tree.file)


def _is_wrong(value: Tree) -> bool:
    if not value or value.is_mapping or value.is_list or value.raw is None:
        return False
    if value.kind in ("int", "float", "bool", "timestamp"):
        return True
    return value.kind == "str" and not value.is_quoted and value.raw in _READ_AS_BOOLEAN


def _kind(value: Tree) -> str:
    named = {"int": "a number", "float": "a number", "timestamp": "a date"}
    return f"{named.get(value.kind, 'a boolean')} ({value.raw})"


def _found(value: Tree, what: str, subject: str) -> Found:
    return Found(place=value.place, what=what, subject=subject, edits=value.edited(f'"{value.raw}"'))


@checks(
    Rule(
        id="A22",
        name="field-typo",
        severity=Severity.ERROR,
        summary="a field that the kind does not have",
        practice="The API server refuses it (`unknown field`), or a client that does not validate drops it in silence.",
        source="reproduced on Kubernetes 1.36 with `runTimeClassName`; fields are those of the API's own schema",
        fix="Correct the name, or move the field to where it belongs.",
    )
)
def unknown_field(scene: Scene) -> Iterator[Found]:
    """Look for keys that the models of the built-in kinds do not have; other kinds are not known and not judged."""
    for one in scene.written_objects:
        for tree, name, where, suggestion in unknown_fields(one):
            hint = f"; did you mean {suggestion!r}?" if suggestion else ""
            yield Found(place=tree.key or tree.place, what=f"{where} has no field {name!r}{hint}", subject=one)


@checks(
    Rule(
        id="A34",
        name="duplicate-yaml-key",
        severity=Severity.ERROR,
        summary="a key that stands twice in one mapping",
        practice="The last one wins where it is read at all: the first value is lost in silence; kustomize and "
        "kubectl's validation refuse the file (`already defined`, `duplicate field`).",
        source="YAML 1.2.2, 3.2.1.3: keys are unique; sigs.k8s.io/yaml in strict mode",
        fix="Keep one of the two, or join their values.",
    )
)
def duplicate_keys(scene: Scene) -> Iterator[Found]:
    """Look for keys of the same text in one mapping, in every file, and in the objects of pages."""
    for mapping, subject in scene.doubled:
        if not subject and is_page(mapping.file):
            continue  # a page shows choices one below the other
        for name, place in mapping.duplicates:
            yield Found(place=place, what=f"{name!r} stands twice; the last one wins", subject=subject)
