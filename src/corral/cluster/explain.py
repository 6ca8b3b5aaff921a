"""Words pydantic's errors as Corral's: a fact with the value seen, a place, and one thing to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from corral.cluster.document import Document, YamlPath, show_key
from corral.cluster.fields import kind_of, show_value
from corral.cluster.machine_shapes import Shape
from corral.cluster.shape import find_shape_at
from corral.errors import closest, did_you_mean

_KINDS = {
    "string_type": ("text", "write text; numbers and true/false need quotes to be text"),
    "int_type": ("a whole number", "write a whole number, without quotes"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "tuple_type": ("a list", "write a list: one `- ` line for each entry, or `[...]`"),
    "dict_type": ("a mapping", "write `key: value` lines"),
    "model_type": ("a mapping", "write `key: value` lines"),
    "model_attributes_type": ("a mapping", "write `key: value` lines"),
}
_BOUNDS = {
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} long",
    "too_long": "at most {max_length} long",
    "string_too_short": "not empty",
    "string_too_long": "at most {max_length} characters",
}


def report(error: ErrorDetails, document: Document) -> None:
    """Add one of pydantic's errors to the document's problems."""
    location = error["loc"]
    is_key = bool(location) and location[-1] == "[key]"
    path: YamlPath = location[:-1] if is_key else location
    context: Mapping[str, Any] = error.get("ctx", {})  # pydantic's own: its values are of any type
    kind = error["type"]
    if kind == "extra_forbidden":
        _report_unknown_key(path, document)
    elif kind == "missing":
        _report_missing_key(path, document)
    else:
        show = kind_of if path[:1] == ("database",) else show_value  # the value can hold a password
        what, hint = _describe_bad_value(kind, error["input"], context, show)
        place = document.report_key if is_key else document.report
        place("cluster.bad_value", what, at=path, hint=hint)


def _report_unknown_key(path: YamlPath, document: Document) -> None:
    shape = find_shape_at(path[:-1])
    key = str(path[-1])
    hint = did_you_mean(key, list_keys(shape))
    if path == ("database", "url"):
        hint = "name the environment variable that holds the URL with `urlFrom`: the URL can hold a password"
    document.report_key("cluster.unknown_key", f"unknown key `{show_key(key)}`", at=path, hint=hint)


def list_keys(shape: type[Shape]) -> list[str]:
    """List the keys that a mapping can have, as they are written."""
    return [info.alias or name for name, info in shape.model_fields.items()]


def _report_missing_key(path: YamlPath, document: Document) -> None:
    known = list_keys(find_shape_at(path[:-1]))
    written = [str(at[-1]) for at in document.keys if at[:-1] == path[:-1]]
    if any(closest(key, known) == path[-1] for key in written if key not in known):
        return  # it is there, misspelt, and reported as an unknown key
    document.report("cluster.missing_key", f"`{path[-1]}` is missing", at=path[:-1], hint=_suggest_missing(path))


def _suggest_missing(path: YamlPath) -> str:
    info = next(
        (info for name, info in find_shape_at(path[:-1]).model_fields.items() if path[-1] in (info.alias, name)), None
    )
    if path == ("apiVersion",):
        return "start the file with `apiVersion: corral/v1`"
    described = info.description if info is not None else None
    return f"add `{path[-1]}`: {described[0].lower()}{described[1:].rstrip('.')}" if described else f"add `{path[-1]}`"


def _describe_bad_value(
    kind: str,
    value: object,
    context: Mapping[str, Any],  # pydantic's
    show: Callable[[object], str],
) -> tuple[str, str]:
    """Return the fact and the hint."""
    seen = show(value)
    if kind == "corral":
        return str(context["what"]), str(context["hint"])
    if kind in _KINDS:
        expected, hint = _KINDS[kind]
        actual = seen if seen == kind_of(value) else f"{kind_of(value)} ({seen})"
        return f"expected {expected}, found {actual}", hint
    if kind in _BOUNDS:
        bound = _BOUNDS[kind].format(**context)
        seen = f"{context['actual_length']} entries" if "actual_length" in context else seen
        return f"must be {bound}, found {seen}", f"write a value that is {bound}"
    if kind in ("enum", "literal_error"):
        words = [word.strip("'") for word in str(context.get("expected", "")).replace(" or ", ", ").split(", ")]
        hint = did_you_mean(value, words) if isinstance(value, str) else "use one of " + ", ".join(words)
        return f"{seen} is not one of {', '.join(words)}", hint
    return f"cannot be used: {seen}", "look at the reference of the cluster file, `corral schema`"
