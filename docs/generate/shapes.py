"""Puts JSON Schema into words: the type of a value, and tables of the fields of an object.

The cluster file, the batch file, the inputs of engines and the HTTP API all describe themselves with JSON Schema, so
one way to read it serves all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from pieces import code, sentence, table

Schema = Mapping[str, Any]  # Any: JSON
Link = Callable[[str], str]
"""Turns the name of a definition into a link or a word."""

_LARGEST_SHOWN = 10**12
"""Bounds above this are those of the database's numbers, and say nothing to people."""


def plain_name(name: str) -> str:
    """Return the name of a definition without the suffixes that only code needs."""
    return name.removesuffix("Shape")


def type_words(schema: Schema, link: Link) -> str:
    """Describe what a value can be."""
    if "$ref" in schema:
        return link(str(schema["$ref"]).rpartition("/")[2])
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return ", ".join(code(value) for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            options = [option for option in schema[union] if option.get("type") != "null"]
            return " or ".join(dict.fromkeys(type_words(option, link) for option in options)) or "null"
    return _plain(schema, link)


def fields(schema: Schema, link: Link) -> str:
    """Make a table of an object's fields."""
    required = set(schema.get("required", ()))
    rows = [
        (
            code(name),
            type_words(field, link) + _bounds(field),
            "required" if name in required else _default(field),
            sentence(field.get("description")),
        )
        for name, field in schema.get("properties", {}).items()
    ]
    return table(("name", "value", "default", "meaning"), rows)


def answer_fields(schema: Schema, link: Link) -> str:
    """Make a table of the fields of an answer, where all are always there."""
    rows = [
        (code(name), type_words(field, link) + (" or null" if _nullable(field) else ""), _meaning(field))
        for name, field in schema.get("properties", {}).items()
    ]
    return table(("name", "value", "meaning"), rows)


def names_used(schema: Schema) -> Iterator[str]:
    """Yield the definitions that a schema refers to."""
    for reference in re.finditer(r"'\$ref': '#/[^']*/([^'/]+)'", repr(schema)):
        yield reference[1]


def _meaning(field: Schema) -> str:
    return sentence(field.get("description"))


def _nullable(schema: Schema) -> bool:
    return any(option.get("type") == "null" for option in schema.get("anyOf", ()))


def _plain(schema: Schema, link: Link) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(_word(entry) for entry in cast("list[object]", kind))  # JSON
    if kind == "array":
        return f"list of {type_words(schema.get('items', {}), link)}"
    held = _held(schema)
    if kind == "object" and held:
        return f"mapping of names to {type_words(held, link)}"
    if kind == "object" and schema.get("properties"):
        return "{" + ", ".join(schema["properties"]) + "}"
    if schema.get("format") == "date-time":
        return "instant (RFC 3339)"
    return _word(kind)


def _held(schema: Schema) -> Schema | None:
    """Return what the values of a mapping are; None when they can be anything."""
    for held in (schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()):
        if isinstance(held, dict) and held:
            return cast("Schema", held)  # JSON
    return None


def _word(kind: object) -> str:
    words = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "object": "mapping",
        "null": "null",
    }
    return words.get(str(kind), "any JSON")


def _bounds(schema: Schema) -> str:
    single = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if len(single) == 1:
        return _bounds(single[0])
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None and high is None:
        return ""
    above = "above " if "exclusiveMinimum" in schema else ""
    if high is None or high > _LARGEST_SHOWN:
        return f", {above}{_number(low)} or more" if not above else f", {above}{_number(low)}"
    return f", {above}{_number(low)} to {_number(high)}"


def _number(value: Any) -> str:  # Any: a JSON number
    return str(int(value)) if value == int(value) else str(value)


def _default(schema: Schema) -> str:
    if "default" not in schema or schema["default"] in (None, [], {}, ""):
        return ""
    value = schema["default"]
    return code(str(value).lower() if isinstance(value, bool) else value)
