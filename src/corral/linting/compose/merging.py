"""Services of several Compose files, one over the other, and the short forms of their fields as long ones.

As compose-go merges: mappings field by field, lists one after the other, and what a program is started with as a whole.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from corral.linting.tree import Tree

_MAPPINGS = ("environment", "labels", "sysctls")
_REPLACED = frozenset({"command", "entrypoint", "test"})
_KEYED = {"volumes": "target"}
"""Lists of which a later entry replaces the one with the same value of this field."""


def normalize_service(service: Tree) -> Tree:
    """Return a service with the short forms of its fields as long ones; each value keeps its place."""
    if not service.is_mapping:
        return service
    fields = dict(service.items)
    for name in _MAPPINGS:
        if name in fields and fields[name].is_list:
            fields[name] = _read_pairs(fields[name])
    for name in ("command", "entrypoint"):
        if name in fields:
            fields[name] = split_command(fields[name])
    if "volumes" in fields:
        volumes = fields["volumes"]
        fields["volumes"] = volumes.replace_entries(_read_volume(entry) for entry in volumes.entries)
    return service.replace_fields(fields)


def split_command(command: Tree) -> Tree:
    """Return the words of a command: one that is a text is split as a shell does."""
    text = command.script
    if command.is_list or text is None or command.kind == "null":
        return command
    try:
        words = shlex.split(text)
    except ValueError:  # a quote that is never closed
        words = [text]
    return command.replace_entries(command.replace_raw(word) for word in words)


def _read_pairs(entries: Tree) -> Tree:
    """Return a list of `NAME=value` as a mapping; a name alone has the value of the shell, which is unknown."""
    pairs: dict[str, Tree] = {}
    for entry in entries.entries:
        name, mark, value = (entry.script or "").partition("=")
        if mark:
            pairs[name] = entry.replace_raw(value)
    return entries.replace_fields(pairs)


def _read_volume(entry: Tree) -> Tree:
    """Return a volume with the fields of the long form."""
    text = entry.script
    if text is None or entry.is_mapping:
        return entry
    parts = text.split(":")
    if len(parts) == 1:
        return entry.replace_fields({"type": entry.replace_raw("volume"), "target": entry.replace_raw(parts[0])})
    kind = "bind" if parts[0].startswith((".", "/", "~", "$")) else "volume"
    return entry.replace_fields(
        {
            "type": entry.replace_raw(kind),
            "source": entry.replace_raw(parts[0]),
            "target": entry.replace_raw(parts[1]),
        }
    )


def merge_services(base: Tree, over: Tree) -> Tree:
    """Put a service over another of the same name, both with long forms."""
    return _merge(base, over, "")


def _merge(base: Tree, over: Tree, name: str) -> Tree:
    if over.kind == "!reset":
        return over.replace_entries(())
    if over.kind == "!override":
        return over.remove_tag()
    if base.is_mapping and over.is_mapping:
        fields = dict(base.items)
        for key, value in over.items:
            fields[key] = _merge(fields[key], value, key) if key in fields else value
        return base.replace_fields(fields)
    if base.is_list and over.is_list and name not in _REPLACED:
        return base.replace_entries(_join(base.entries, over.entries, _KEYED.get(name)))
    return over


def _join(first: Iterable[Tree], second: Iterable[Tree], key: str | None) -> Iterable[Tree]:
    later = tuple(second)
    replaced = {entry[key].raw for entry in later} if key else set[str | None]()
    return (*(entry for entry in first if key is None or entry[key].raw not in replaced), *later)
