"""The references of the cluster, batch and set file, from the schemas that editors complete them with."""

from __future__ import annotations

from pieces import anchor, page, sentence
from shapes import Schema, fields, names_used, plain_name

from corral.batchfile.shape import FILE_SHAPES
from corral.batchfile.shape import json_schema as batch_schema
from corral.cluster.schema import make_json_schema as cluster_schema
from corral.studio.sets.shape import json_schema as set_schema

_WRITING = """Sizes are a number with `Ki`, `Mi`, `Gi` or `Ti` (or `k`, `M`, `G`, `T`), such as `16Gi`. Durations are a
number with `ms`, `s`, `m`, `h`, `d` or `w`, such as `90s` or `1h30m`. Unknown keys are errors."""


def cluster_page() -> str:
    """Make the page of the cluster file."""
    opening = (
        "`corral schema` prints this as a JSON Schema, for editors. [The guide](../concepts/cluster-file.md) says how "
        "to begin."
    )
    return _page("Cluster file", cluster_schema(), opening)


def batch_page() -> str:
    """Make the page of the batch file."""
    opening = (
        "`corral schema --batch` prints this as a JSON Schema, for editors. What `inputs` holds depends on the engine: "
        "see [engines](../concepts/engines.md)."
    )
    return f"{_page('Batch file', batch_schema(), opening)}\n{_forms_of_files()}\n"


def set_page() -> str:
    """Make the page of the set file."""
    opening = (
        "`corral schema --set` prints this as a JSON Schema, for editors. [The guide](../guides/studio.md) says how to "
        "begin."
    )
    return _page("Set file", set_schema(), opening)


def _forms_of_files() -> str:
    """Describe the forms of a file, which the schema holds in place and without names."""
    opening = (
        "A file of a task is written in one of these forms, or short: `task-name/output.ext` is an output of another "
        "task, and text that starts with `./`, `../`, `/` or `~` is a path."
    )
    schemas = [shape.model_json_schema(by_alias=True) for shape in FILE_SHAPES]
    tables = [f"{sentence(schema['description'])}\n\n{fields(schema, _link)}" for schema in schemas]
    return "\n\n".join(["## Files of a task", opening, *tables])


def _page(title: str, schema: Schema, opening: str) -> str:
    parts = [_section(name, schema["$defs"][name]) for name in _in_order(schema)]
    return page(title, opening, _WRITING, "## The file", fields(schema, _link), *parts)


def _in_order(schema: Schema) -> list[str]:
    """Return the definitions in the order in which a reader of the page meets them."""
    reached: dict[str, None] = {}
    ways = list(names_used(schema["properties"]))
    while ways:
        name = ways.pop(0)
        if name not in reached:
            reached[name] = None
            ways = [*names_used(schema["$defs"][name]), *ways]
    return list(reached)


def _section(name: str, definition: Schema) -> str:
    listed = ", ".join(f"`{value}`" for value in definition.get("enum", ()))
    body = fields(definition, _link) or (f"One of {listed}." if listed else "")
    return "\n\n".join(
        part for part in (f"## {plain_name(name)}", sentence(definition.get("description")), body) if part
    )


def _link(name: str) -> str:
    return f"[{plain_name(name)}](#{anchor(plain_name(name))})"
