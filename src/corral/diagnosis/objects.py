"""Parts of objects that can be absent: the API server leaves out what is empty."""

from __future__ import annotations

from corral.work import Json


def get_map(value: Json, *path: str) -> dict[str, Json]:
    """Return the mapping under keys; empty where one of them is absent."""
    for key in path:
        value = value.get(key) or {}
    return value


def get_list(value: Json, *path: str) -> list[Json]:
    """Return the list under keys; empty where one of them is absent."""
    return get_map(value, *path[:-1]).get(path[-1]) or []


def get_text(value: Json, *path: str) -> str:
    """Return the text under keys; empty where one of them is absent."""
    return get_map(value, *path[:-1]).get(path[-1]) or ""


def get_labels(value: Json) -> dict[str, str]:
    """Return the labels of an object."""
    return get_map(value, "metadata", "labels")
