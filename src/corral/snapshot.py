"""Objects of a Kubernetes cluster as values, as its API server answered at one moment.

Belongs here: the name of an object, a cluster's objects by name, how they are found.
Does not belong here: asking an API server (`corral.kubernetes`), judging the answer.
May import: `corral.work`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from corral.work import Json


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """A kind of objects: `Kind("apps", "Deployment")`; the core group is empty."""

    group: str
    name: str

    @classmethod
    def read(cls, value: Json) -> Kind:
        """Read the kind of an object as a manifest has it."""
        group, _, _ = value["apiVersion"].rpartition("/")
        return cls(group, value["kind"])

    def __str__(self) -> str:
        return f"{self.name}.{self.group}" if self.group else self.name


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """The name of an object, unique in a cluster."""

    kind: Kind
    namespace: str
    """Empty for objects of the cluster."""
    name: str

    @classmethod
    def read(cls, value: Json) -> ObjectKey:
        """Read the name of an object as a manifest has it."""
        metadata = value["metadata"]
        return cls(Kind.read(value), metadata.get("namespace") or "", metadata["name"])

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind.name} {where}"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The answer of an API server: its objects, in the order of their names."""

    objects: Mapping[ObjectKey, Json]
    served: frozenset[Kind]
    """Kinds that the API server knows; a kind that is absent has no CRD here."""
    unread: Mapping[Kind, str] = field(default_factory=dict[Kind, str])
    """Kinds whose objects are unknown, with the reason: usually a verb that is forbidden."""
    version: str = ""
    """The API server's version, as `v1.36.3`; empty when it is unknown."""

    @classmethod
    def make(cls, values: Iterable[Json], served: Iterable[Kind] = (), version: str = "") -> Snapshot:
        """Make a snapshot from objects; the kinds of these objects are served."""
        objects = {ObjectKey.read(value): value for value in values}
        kinds = frozenset(served) | {key.kind for key in objects}
        return cls(objects=dict(sorted(objects.items())), served=kinds, version=version)

    @cached_property
    def _by_kind(self) -> Mapping[str, tuple[Json, ...]]:
        values_by_kind: dict[str, list[Json]] = {}
        for key, value in self.objects.items():
            values_by_kind.setdefault(key.kind.name, []).append(value)
        return {kind: tuple(values) for kind, values in values_by_kind.items()}

    def list(self, kind: str, namespace: str | None = None) -> tuple[Json, ...]:
        """List objects by the name of their kind, `Pod`; `namespace` limits them to a namespace."""
        values = self._by_kind.get(kind, ())
        if namespace is None:
            return values
        return tuple(value for value in values if value["metadata"].get("namespace", "") == namespace)

    def find(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """Find an object by its name; None when it is not there."""
        for value in self._by_kind.get(kind, ()):
            metadata = value["metadata"]
            if metadata["name"] == name and metadata.get("namespace", "") == namespace:
                return value
        return None

    def list_events(self, value: Json) -> Iterator[Json]:
        """List the events about an object, oldest first."""
        uid = value["metadata"].get("uid")
        events = [event for event in self._by_kind.get("Event", ()) if event["involvedObject"].get("uid") == uid]
        yield from sorted(events, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
