"""The memory of an installation on its cluster: the active layout, and every object that it has applied.

It is a ConfigMap of the installation's namespace, so that another machine can go on. Names of objects are written
before the objects, and removed after them: an object is never there without its name, whenever a program is killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from corral.deploying.order import CONFIG_MAP
from corral.errors import CorralError
from corral.errors import Kind as ErrorKind
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.work import Json

STATE_NAME = "corral-state"
PART_OF = "app.kubernetes.io/part-of"
MANAGED_BY = "app.kubernetes.io/managed-by"
CORRAL = "corral"
_LAYOUT = "layout"
_OBJECTS = "objects"


class TakenNamespaceError(CorralError):
    """The namespace belongs to the installation of another cluster file."""

    code: ClassVar[str] = "deploy.taken_namespace"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The memory of an installation."""

    cluster: str
    namespace: str
    layout: str | None = None
    """The active layout, or the one that is being applied; None before the first."""
    objects: frozenset[ObjectKey] = frozenset()
    """Everything that was applied and not yet deleted."""
    others: Mapping[str, str] = field(default_factory=dict[str, str])
    """Entries of other use cases, kept as they are."""

    @property
    def key(self) -> ObjectKey:
        """The name of the object that has it."""
        return name_state(self.namespace)

    def keep(self, entry: str, text: str | None) -> State:
        """Return the state with an entry of another use case; None removes it."""
        others = {key: value for key, value in self.others.items() if key != entry}
        return replace(self, others=others if text is None else {**others, entry: text})

    def write(self, version: str | None = None) -> Json:
        """Write the object that has it; `version` is that of the object that it replaces, if no other must be."""
        data = dict(self.others)
        if self.layout is not None:
            data[_LAYOUT] = self.layout
        data[_OBJECTS] = "".join(f"{_write_key(key)}\n" for key in sorted(self.objects))
        labels = {"app.kubernetes.io/name": STATE_NAME, PART_OF: self.cluster, MANAGED_BY: CORRAL}
        metadata: dict[str, Json] = {"name": STATE_NAME, "namespace": self.namespace, "labels": labels}
        if version is not None:
            metadata["resourceVersion"] = version
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(sorted(data.items()))}


def name_state(namespace: str) -> ObjectKey:
    """Name the object that has the state of the installation in a namespace."""
    return ObjectKey(CONFIG_MAP, namespace, STATE_NAME)


def read_state(value: Json | None, cluster: str, namespace: str) -> State:
    """Read the object that has the state; without one, nothing was applied yet. Raises: TakenNamespaceError."""
    if value is None:
        return State(cluster=cluster, namespace=namespace)
    owner = value["metadata"].get("labels", {}).get(PART_OF)
    if owner != cluster:
        raise TakenNamespaceError(
            f"namespace {namespace} has the installation of the cluster file {owner!r}, and this one is {cluster!r}",
            where=str(name_state(namespace)),
            hint="choose another `kubernetes.namespace`, or `corral delete` that installation with its own file",
        )
    data: Mapping[str, str] = value.get("data") or {}
    return State(
        cluster=cluster,
        namespace=namespace,
        layout=data.get(_LAYOUT),
        objects=frozenset(_read_keys(data.get(_OBJECTS, "").splitlines())),
        others={key: text for key, text in data.items() if key not in (_LAYOUT, _OBJECTS)},
    )


def is_owned(value: Json, cluster: str) -> bool:
    """Return whether an object was applied by Corral for a cluster file.

    Labels alone do not show it: copies of rendered Jobs have them, and so have pods. Corral's field manager does.
    """
    metadata = value["metadata"]
    labels: Mapping[str, str] = metadata.get("labels") or {}
    if labels.get(PART_OF) != cluster or labels.get(MANAGED_BY) != CORRAL:
        return False
    return any(
        entry.get("manager") == CORRAL and entry.get("operation") == "Apply"
        for entry in metadata.get("managedFields") or ()
    )


def list_owned(snapshot: Snapshot, state: State, namespaces: Iterable[str]) -> frozenset[ObjectKey]:
    """List the objects of an installation that are on the cluster.

    They are owned, and either among those of the state or in a namespace of the installation: objects of the whole
    cluster are known by the state alone, since another installation can have applied them last.
    """
    own = {*namespaces, state.namespace}
    return frozenset(
        key
        for key, value in snapshot.objects.items()
        if is_owned(value, state.cluster) and (key in state.objects or key.namespace in own) and key != state.key
    )


def _write_key(key: ObjectKey) -> str:
    return " ".join((key.kind.name, key.kind.group or "-", key.namespace or "-", key.name))


def _read_keys(lines: Iterable[str]) -> Iterable[ObjectKey]:
    for line in lines:
        kind, group, namespace, name = line.split(" ")
        yield ObjectKey(Kind("" if group == "-" else group, kind), "" if namespace == "-" else namespace, name)
