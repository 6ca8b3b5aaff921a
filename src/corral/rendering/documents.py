"""YAML files from plain values, with a header that names the file's source.

Every text in labels, selectors, annotations and settings is quoted: YAML 1.1, as Kubernetes reads it, takes `y`, `on`
and `32` for something else (pitfall A21). Keys keep the order in which they were given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from io import StringIO
from typing import Any, cast

import yaml
from yaml.emitter import ScalarAnalysis

from corral.rendering.installation import Installation

Json = Any  # plain values: mappings, lists, text, numbers, booleans

_QUOTED_MAPS = frozenset({"labels", "matchLabels", "nodeSelector", "annotations", "nodeLabels", "data"})
_QUOTED_KEYS = frozenset({"value", "nominalQuota"})


class _Quoted(str):
    """A text that is written in quotes."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, as people write manifests, and never writes anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def analyze_scalar(self, scalar: str) -> ScalarAnalysis:
        """Analyze a text once: keys and labels repeat in every object, and this step takes a fifth of a rendering."""
        return _analyze_text(scalar) if len(scalar) <= _REMEMBERED else super().analyze_scalar(scalar)


_REMEMBERED = 200
"""Longer texts are scripts and whole files, which do not repeat."""
_ANALYZER = yaml.SafeDumper(StringIO(), allow_unicode=True)
"""Never writes: it only analyzes texts, as each dumper does for itself otherwise."""


@lru_cache(maxsize=8192)
def _analyze_text(text: str) -> ScalarAnalysis:
    return _ANALYZER.analyze_scalar(text)


def _write_quoted(dumper: yaml.SafeDumper, text: _Quoted) -> yaml.Node:
    style = "|" if "\n" in text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(_Quoted, _write_quoted)
_Dumper.add_representer(str, _write_text)


def write_header(installation: Installation, *notes: str, comment: str = "#") -> str:
    """Write the first lines of every file: the program and its source; then notes, one line each."""
    layout = f", layout {installation.layout.name}" if installation.layout else ""
    lines = [
        f"Written by `corral render` from {installation.source} (sha256:{installation.digest[:16]}){layout}.",
        "Change the cluster file and render again; changes made here are overwritten.",
        *notes,
    ]
    return "".join(f"{comment} {_put_on_one_line(line)}\n" for line in lines)


def write_manifests(installation: Installation, objects: Iterable[Mapping[str, Json]], *notes: str) -> str:
    """Write Kubernetes objects as one file of several documents."""
    texts = (_dump_manifest(_Plain(repr(fields), fields)) for fields in objects)
    return write_header(installation, *notes) + "---\n" + "---\n".join(texts)


def write_document(installation: Installation, value: Json, *notes: str) -> str:
    """Write any other YAML file."""
    return write_header(installation, *notes) + dump(value)


def dump(value: Json) -> str:
    """Write plain values as YAML."""
    return _dump_plain(_Plain(repr(value), value))


@dataclass(frozen=True, slots=True)
class _Plain:
    """A plain value that equals those of the same notation: with another type or order of keys, it is another."""

    notation: str
    value: Json = field(compare=False)


_REMEMBERED_VALUES = 1024
"""The largest example has 95 documents. Layouts share many of them, and so do clusters that differ in a field."""


@lru_cache(maxsize=_REMEMBERED_VALUES)
def _dump_manifest(plain: _Plain) -> str:
    return _dump_anew(_mark_quoted(plain.value))


@lru_cache(maxsize=_REMEMBERED_VALUES)
def _dump_plain(plain: _Plain) -> str:
    return _dump_anew(plain.value)


def _dump_anew(value: Json) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True, default_flow_style=False)


def _put_on_one_line(text: str) -> str:
    """Keep a text inside of its comment: a path can have a line break."""
    return "".join(character if character.isprintable() else " " for character in text)


def _mark_quoted(value: Json, *, quote: bool = False) -> Json:
    """Mark the texts that need quotes: those directly below certain keys."""
    if isinstance(value, list):
        entries = cast(list[Json], value)  # isinstance does not check the elements, here and below
        return [_mark_quoted(entry) for entry in entries]
    if isinstance(value, dict):
        fields = cast(dict[str, Json], value)
        return {key: _mark_quoted(entry, quote=_is_quoted(key, entry) or quote) for key, entry in fields.items()}
    return _Quoted(value) if quote and isinstance(value, str) else value


def _is_quoted(key: str, value: Json) -> bool:
    return key in _QUOTED_KEYS or (key in _QUOTED_MAPS and isinstance(value, dict))
