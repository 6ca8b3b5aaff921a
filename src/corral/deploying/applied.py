"""The objects of an installation as Corral applied them, taken from the cluster, so that they can be applied again.

The API server remembers for each field which manager has set it; the fields that Corral's own
apply has set are its last configuration, in whatever form the cluster file had then (as client-go extracts apply
configurations).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from corral.deploying.order import WORKLOADS
from corral.deploying.state import CORRAL
from corral.narrowing import as_object
from corral.snapshot import Kind
from corral.work import Json


def extract_applied(live: Json) -> Json:
    """Extract what Corral has applied of an object, and the replicas of a workload, whichever manager has set them."""
    metadata = live["metadata"]
    value: dict[str, Json] = {}
    for entry in metadata.get("managedFields") or ():
        if entry["manager"] == CORRAL and entry.get("operation") == "Apply" and not entry.get("subresource"):
            value = _merge(value, _extract(live, entry.get("fieldsV1") or {}))
    names = {key: metadata[key] for key in ("name", "namespace") if metadata.get(key)}
    value = {
        **value,
        "apiVersion": live["apiVersion"],
        "kind": live["kind"],
        "metadata": {**(value.get("metadata") or {}), **names},
    }
    replicas = live.get("spec", {}).get("replicas") if Kind.read(live) in WORKLOADS else None
    return value if replicas is None else put_replicas(value, replicas)


def put_replicas(value: Json, replicas: int) -> Json:
    """Return a workload with another number of replicas."""
    return {**value, "spec": {**as_object(value.get("spec")), "replicas": replicas}}


def pack_objects(values: Iterable[Json]) -> str:
    """Pack objects into a text that a ConfigMap can have: 1 MiB is its limit, and manifests shrink to a tenth."""
    return base64.b64encode(zlib.compress(json.dumps(list(values), separators=(",", ":")).encode(), 9)).decode()


def unpack_objects(text: str) -> tuple[Json, ...]:
    """Unpack objects that `pack_objects` has packed."""
    return tuple(json.loads(zlib.decompress(base64.b64decode(text))))


def _extract(value: Json, fields: Mapping[str, Json]) -> Json:
    """Extract fields, which are written as in `managedFields`; without inner ones, all of a value."""
    inner = {key: cast(Mapping[str, Json], below or {}) for key, below in fields.items() if key != "."}
    if not inner:
        return value
    if isinstance(value, list):
        return list(_extract_entries(cast(list[Json], value), inner))
    if not isinstance(value, dict):
        return value
    mapping = cast(dict[str, Json], value)
    names = {key.removeprefix("f:"): below for key, below in inner.items()}
    return {name: _extract(mapping[name], below) for name, below in names.items() if name in mapping}


def _extract_entries(entries: list[Json], fields: Mapping[str, Mapping[str, Json]]) -> Iterator[Json]:
    """Extract the entries of a list that are known by keys, by value or by index, in the order of the list."""
    for place, entry in enumerate(entries):
        for key, below in fields.items():
            mark, _, text = key.partition(":")
            named = json.loads(text)
            if mark == "k" and isinstance(entry, dict) and named.items() <= cast(dict[str, Json], entry).items():
                inner = any(name != "." for name in below)
                yield {**named, **(_extract(entry, below) if inner else {})}
            elif (mark == "v" and named == entry) or (mark == "i" and named == place):
                yield entry


def _merge(first: dict[str, Json], second: Json) -> dict[str, Json]:
    """Merge what two entries of one manager have set: one for each version of the API."""
    merged = dict(first)
    for key, value in cast(dict[str, Json], second).items():
        there = merged.get(key)
        merged[key] = (
            _merge(cast(dict[str, Json], there), value)
            if isinstance(there, dict) and isinstance(value, dict)
            else value
        )
    return merged
