"""Differences between objects on a cluster and those that are applied, and fields that others have set."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from corral.deploying.fields import format_path, list_fields, reduce_to_wishes
from corral.deploying.state import CORRAL
from corral.snapshot import Snapshot
from corral.work import Json

_CONTROLLERS = frozenset(
    {
        "k3s",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kueue",
        "kueue-admission-manager",
        "local-path-provisioner",
    }
)
"""Managers that do their part of an object, and change nothing that was applied."""
_OF_THE_SERVER = frozenset({".metadata.labels.kubernetes.io/metadata.name"})
"""Fields that the API server writes in the name of the manager that makes an object."""
_LONGEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDifference:
    """A field that an object would have otherwise."""

    field: str
    """`.spec.template.spec.containers[name="web"].image`"""
    before: str | None
    """As JSON; None where it is not set."""
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFields:
    """Fields of an applied object that another manager has set and the cluster file does not."""

    object: str
    manager: str
    """As it calls itself: `kubectl-edit`."""
    fields: tuple[str, ...]


def compare_objects(before: Json, after: Json, applied: Json) -> tuple[FieldDifference, ...]:
    """Compare an object with what the server would make of it; `applied` is what is sent."""
    first, second = (reduce_to_wishes(value, applied) for value in (before, after))
    return tuple(_compare(first, second, ()))


def list_foreign_fields(key: str, live: Json, conflicts: Collection[str] = ()) -> Iterator[ForeignFields]:
    """List the fields of an object that others have set, by manager, without `conflicts`; what Corral has set as well
    is its own."""
    entries: Sequence[Json] = live["metadata"].get("managedFields") or ()
    own = {path for entry in entries if entry["manager"] == CORRAL for path in list_fields(entry)}
    for entry in entries:
        manager = entry["manager"]
        if manager == CORRAL or manager in _CONTROLLERS or entry.get("subresource") == "status":
            continue
        paths = (format_path(path) for path in list_fields(entry) if path not in own)
        fields = tuple(path for path in paths if path not in conflicts and path not in _OF_THE_SERVER)
        if fields:
            yield ForeignFields(object=key, manager=manager, fields=fields)


def join_snapshots(first: Snapshot, second: Snapshot) -> Snapshot:
    """Join two snapshots of one cluster; objects of the second replace those of the first."""
    return Snapshot(
        objects=dict(sorted({**first.objects, **second.objects}.items())),
        served=first.served | second.served,
        unread={**first.unread, **second.unread},
        version=first.version,
    )


def _compare(before: Json, after: Json, path: tuple[str, ...]) -> Iterator[FieldDifference]:
    if before == after or _is_same_quantity(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _compare_maps(cast(Mapping[str, Json], before), cast(Mapping[str, Json], after), path)
    elif (first := _name_entries(before)) is not None and (second := _name_entries(after)) is not None:
        yield from _compare_maps(first, second, path)
    else:
        yield FieldDifference(field=format_path(path), before=_write(before), after=_write(after))


def _compare_maps(
    before: Mapping[str, Json], after: Mapping[str, Json], path: tuple[str, ...]
) -> Iterator[FieldDifference]:
    for name in dict.fromkeys((*before, *after)):
        yield from _compare(before.get(name), after.get(name), (*path, name))


_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|[MGTPE]|[KMGTPE]i)?")
_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(1000),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", start=2)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


def _is_same_quantity(before: Json, after: Json) -> bool:
    """Return whether two texts are one quantity: controllers write `1000` as `1k`."""
    first, second = (_QUANTITY.fullmatch(text) if isinstance(text, str) else None for text in (before, after))
    if first is None or second is None:
        return False
    values = {Decimal(match[1]) * _FACTORS[match[2] or ""] for match in (first, second)}
    return len(values) == 1


def _name_entries(value: Json) -> Mapping[str, Json] | None:
    """Name the entries of a list by their names, as the server merges them, else by their places; None for no list."""
    if not isinstance(value, list):
        return None
    entries = cast(list[Json], value)
    if not all(isinstance(entry, dict) and "name" in entry for entry in entries):
        return {f"[{place}]": entry for place, entry in enumerate(entries)}
    return {f"[name={json.dumps(entry['name'])}]": entry for entry in entries}


def _write(value: Json) -> str | None:
    if value is None:
        return None
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
