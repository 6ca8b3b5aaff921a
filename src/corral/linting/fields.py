"""The fields that Kubernetes' built-in kinds have, by the typed models of `lightkube` (made from the official OpenAPI).

Only kinds whose model is known are judged, and only mappings whose model is known: what the models leave open (labels,
quantities, raw JSON) may hold anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from corral.errors import closest
from corral.linting.objects import Object
from corral.linting.tree import Tree

_ANYWHERE = frozenset({"apiVersion", "kind", "sops"})
"""What may stand beside the fields, as the directives of a patch (`$patch`) may; `sops` goes with decryption."""
_CLOSE = 0.75
"""How alike two names are when one is probably meant by the other: fields of Kubernetes are alike by nature."""
_RENAMED = {"continue_": "continue", "except_": "except", "not_": "not", "from_": "from", "enum_": "enum"}
_SCHEMALESS = frozenset({"CustomResourceDefinition"})
"""Kinds whose content is a schema of its own."""

Unknown = tuple[Tree, str, str, str | None]


def unknown_fields(one: Object) -> Iterator[Unknown]:
    """Yield each key that its place does not have: the value, the key, where it is, and a name that is close."""
    model = _model_of(one.api_version, one.kind)
    if model is not None:
        yield from _unknown(one.tree, model, one.kind)


def is_known(api_version: str, kind: str) -> bool:
    """Tell whether a kind is a built-in one whose fields are known."""
    return _model_of(api_version, kind) is not None


def _unknown(tree: Tree, model: Any, where: str) -> Iterator[Unknown]:
    known = _fields(model)
    for name, value in tree.items:
        if name not in known:
            if name not in _ANYWHERE and not name.startswith("$"):
                yield value, name, where, closest(name, known, cutoff=_CLOSE)
            continue
        inner, is_list = known[name]
        if inner is None:
            continue
        for child in value.entries if is_list else (value,):
            if child.is_mapping:
                yield from _unknown(child, inner, f"{where}.{name}")


@lru_cache(maxsize=512)
def _model_of(api_version: str, kind: str) -> Any:
    """The model of a kind; None when it is not a built-in one."""
    group, _, version = api_version.rpartition("/")
    if not version.isalnum() or kind in _SCHEMALESS:
        return None
    package = (group.removesuffix(".k8s.io").replace(".", "_") or "core").replace("-", "_")
    if group and "." in group and not group.endswith(".k8s.io"):
        return None
    for name in (f"{package}_{version}", f"{package.split('_')[0]}_{version}"):
        try:
            found = getattr(import_module(f"lightkube.resources.{name}"), kind, None)
        except (ImportError, ValueError):
            continue
        if found is not None:
            return found
    return None


@lru_cache(maxsize=4096)
def _fields(model: Any) -> dict[str, tuple[Any, bool]]:
    """The fields of a model: for each its own model (None when it holds anything), and whether it is a list of them."""
    hints = {name: hint for name, hint in get_type_hints(model).items() if name in model.__struct_fields__}
    names: dict[str, str] = dict(zip(model.__struct_fields__, model.__struct_encode_fields__, strict=True))
    return {_RENAMED.get(names[name], names[name]): _inner(hint) for name, hint in hints.items()}


def _inner(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, UnionType):
        hint = next((one for one in get_args(hint) if one is not NoneType), hint)
    if get_origin(hint) is list:
        inner, _ = _inner(get_args(hint)[0])
        return inner, True
    return (hint, False) if hasattr(hint, "__struct_fields__") else (None, False)
