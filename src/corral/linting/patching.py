"""Patches over trees: strategic merge and JSON patch (RFC 6902); every value keeps its place in its file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType

from corral.linting.tree import Tree, parse_count

_MERGED_BY = MappingProxyType(
    {
        "containers": "name",
        "initContainers": "name",
        "ephemeralContainers": "name",
        "volumes": "name",
        "env": "name",
        "imagePullSecrets": "name",
        "resourceClaims": "name",
        "volumeMounts": "mountPath",
        "volumeDevices": "devicePath",
        "topologySpreadConstraints": "topologyKey",
        "hostAliases": "ip",
    }
)
"""Lists that a strategic merge joins by a key (patchMergeKey in Kubernetes' API); every other list is replaced."""
_PORT_KEYS = ("containerPort", "port")
_DIRECTIVE = "$patch"


def merge_patch(base: Tree, patch: Tree) -> Tree:
    """Merge a patch over a value, as a strategic merge."""
    if not base.is_mapping or not patch.is_mapping or patch[_DIRECTIVE].raw == "replace":
        return patch
    fields = dict(base.items)
    for name, value in patch.items:
        if name.startswith("$"):
            continue
        if value.kind == "null" or is_deletion(value):
            fields.pop(name, None)
        elif name in fields:
            fields[name] = _merge_values(name, fields[name], value)
        else:
            fields[name] = value
    return base.replace_fields(fields)


def is_deletion(patch: Tree) -> bool:
    """Return whether a patch deletes its target."""
    return patch[_DIRECTIVE].raw == "delete"


def _merge_values(name: str, base: Tree, patch: Tree) -> Tree:
    if not (base.is_list and patch.is_list):
        return merge_patch(base, patch)
    key = _choose_merge_key(name, patch.entries)
    if key is None or any(entry[_DIRECTIVE].raw == "replace" for entry in patch.entries):
        return patch
    entries = list(base.entries)
    for change in patch.entries:
        place = next((at for at, entry in enumerate(entries) if entry[key].raw == change[key].raw), None)
        if place is None:
            if not is_deletion(change):
                entries.append(change)
        elif is_deletion(change):
            del entries[place]
        else:
            entries[place] = merge_patch(entries[place], change)
    return base.replace_entries(entries)


def _choose_merge_key(name: str, entries: Sequence[Tree]) -> str | None:
    if name == "ports":
        return next((key for key in _PORT_KEYS if all(entry[key] for entry in entries)), None)
    return _MERGED_BY.get(name)


def apply_operations(tree: Tree, operations: Iterable[Tree]) -> Tree:
    """Apply the operations of a JSON patch; `test`, `move` and `copy` change nothing here."""
    for operation in operations:
        path = [part.replace("~1", "/").replace("~0", "~") for part in (operation["path"].raw or "").split("/")[1:]]
        if path and operation["op"].raw in ("add", "replace") and operation["value"]:
            tree = put(tree, path, operation["value"], is_new=operation["op"].raw == "add")
        elif path and operation["op"].raw == "remove":
            tree = put(tree, path, None)
    return tree


def put(tree: Tree, path: Sequence[str], value: Tree | None, *, is_new: bool = False) -> Tree:
    """Set the value at a path, or remove it; missing mappings on the path are made, missing lists are not."""
    if not path:
        return value if value is not None else tree
    name, *rest = path
    if tree.is_list:
        return _put_in_list(tree, name, rest, value, is_new=is_new)
    fields = dict(tree.items)
    if rest:
        below = fields[name] if name in fields else tree.replace_fields({})
        fields[name] = put(below, rest, value, is_new=is_new)
    elif value is None:
        fields.pop(name, None)
    else:
        fields[name] = value
    return tree.replace_fields(fields)


def _put_in_list(tree: Tree, name: str, rest: Sequence[str], value: Tree | None, *, is_new: bool) -> Tree:
    entries = list(tree.entries)
    place = len(entries) if name == "-" else parse_count(name)
    if place is None or place > len(entries) or (place == len(entries) and (rest or not is_new or value is None)):
        return tree
    if rest:
        entries[place] = put(entries[place], rest, value, is_new=is_new)
    elif value is None:
        del entries[place]
    elif is_new:
        entries.insert(place, value)
    else:
        entries[place] = value
    return tree.replace_entries(entries)
