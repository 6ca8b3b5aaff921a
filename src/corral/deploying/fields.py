"""Fields of objects and their managers, as `metadata.managedFields` has them (structured merge diff, v1)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from corral.work import Json

Path = tuple[str, ...]
"""A field: keys of mappings as they are, entries of lists as `[name=web]`."""


def list_fields(entry: Json) -> Iterator[Path]:
    """List the fields of an entry of `managedFields`: the innermost ones."""
    yield from _walk(entry.get("fieldsV1") or {}, ())


def list_managers_of(metadata: Json, path: Path) -> frozenset[str]:
    """List the managers of a field of an object."""
    entries: Sequence[Json] = metadata.get("managedFields") or ()
    return frozenset(entry["manager"] for entry in entries if path in set(list_fields(entry)))


def format_path(path: Path) -> str:
    """Format a field as the API server does in its conflicts: `.spec.template.spec.containers[name="web"].image`."""
    return "".join(part if part.startswith("[") else f".{part}" for part in path)


def reduce_to_wishes(value: Json, applied: Json) -> Json:
    """Reduce an object to what people and Corral wish of it: without its status and the server's own entries.

    Of its annotations those in `applied` remain: controllers write others.
    """
    kept = {key: part for key, part in value.items() if key not in ("status", "metadata")}
    metadata = value["metadata"]
    notes: Mapping[str, str] = metadata.get("annotations") or {}
    wished: Mapping[str, str] = applied["metadata"].get("annotations") or {}
    labels: Mapping[str, str] = metadata.get("labels") or {}
    own = {"labels": labels, "annotations": {name: notes[name] for name in wished if name in notes}}
    return {**kept, "metadata": own}


def _walk(fields: Mapping[str, Json], path: Path) -> Iterator[Path]:
    for key, below in fields.items():
        if key == ".":
            continue
        mark, _, rest = key.partition(":")
        part = rest if mark == "f" else _format_entry(mark, rest)
        inner = cast(Mapping[str, Json], below or {})
        if any(name != "." for name in inner):
            yield from _walk(inner, (*path, part))
        else:
            yield (*path, part)


def _format_entry(mark: str, text: str) -> str:
    """Format an entry of a list: by its keys, by its value or by its index."""
    if mark == "k":
        keys: Mapping[str, Json] = json.loads(text)
        return "[" + ",".join(f"{name}={json.dumps(value)}" for name, value in keys.items()) + "]"
    return f"[={text}]" if mark == "v" else f"[{text}]"
