"""The steps that bring a cluster from a snapshot to a list of objects, in order, and what no step touches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from corral.deploying.fields import list_fields, list_managers_of
from corral.deploying.objects import LayoutObjects
from corral.deploying.order import (
    CLAIM,
    CLAIM_TEMPLATE,
    CRD,
    DEVICE_CLASS,
    JOB,
    KUEUE,
    NAMESPACE,
    NODE,
    PRIORITY_CLASS,
    RUNTIME_CLASS,
    SECRET,
    SERVICE,
    STATEFUL_SET,
    STORAGE_CLASS,
    VOLUME,
    rank_kind,
    sort_for_deletion,
)
from corral.deploying.state import CORRAL, PART_OF, State, is_owned, list_owned
from corral.errors import Kind as ErrorKind
from corral.errors import Problem, ProblemsError
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.work import Json

_REPLACED = frozenset(
    {
        CLAIM_TEMPLATE,
        PRIORITY_CLASS,
        SERVICE,
        STATEFUL_SET,
        STORAGE_CLASS,
        RUNTIME_CLASS,
        Kind(KUEUE, "LocalQueue"),
    }
)
"""Kinds of which an object can be deleted and made anew without loss, where a field of it cannot be changed."""
SHARED_KINDS = frozenset(
    {
        DEVICE_CLASS,
        NAMESPACE,
        PRIORITY_CLASS,
        RUNTIME_CLASS,
        STORAGE_CLASS,
        Kind(KUEUE, "WorkloadPriorityClass"),
    }
)
"""Kinds whose objects installations of one cluster share: they are the same in each."""
KEPT_KINDS = frozenset({CLAIM, VOLUME, SECRET, CRD, JOB}) | SHARED_KINDS
"""Never pruned: they have data, secrets, other people's objects or work that runs, or another installation has them,
too."""
_IMMUTABLE = ("immutable", "updates to ", "change once set", "be changed in an update")
_OF_THE_NODE = frozenset(
    {
        "kubernetes.io/arch",
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "node.kubernetes.io/instance-type",
    }
)
"""Labels that each kubelet sets on its node, and sets back (Kubernetes, well-known labels)."""


class Verb(StrEnum):
    """The request of a step."""

    APPLY = "apply"
    LABEL = "label"
    ADD = "add"
    """Keys are added to a Secret; those that it has stay."""
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request that changes the cluster; it can be repeated."""

    verb: Verb
    key: ObjectKey
    value: Json = None
    """The object to apply, or the change of a node's labels or of a Secret; None where it is deleted."""
    forced: bool = False
    """Whether all fields of the object are Corral's alone, so that other values are overwritten."""

    @property
    def rank(self) -> int:
        """Steps of one rank do not depend on one another."""
        return rank_kind(self.key.kind)

    def __str__(self) -> str:
        return f"{self.verb} {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The steps that bring a cluster to a layout, and all that they leave."""

    steps: tuple[Step, ...]
    """Applied and labelled in this order; then what is pruned, workloads first."""
    waiting: tuple[Step, ...]
    """Objects whose kind the cluster does not serve: their CRD is not installed."""
    kept: tuple[ObjectKey, ...]
    """No longer rendered, and not pruned: volumes with data and the like."""
    absent_nodes: tuple[str, ...]
    """Nodes of the file that the cluster does not have; their labels wait."""

    @property
    def applied(self) -> frozenset[ObjectKey]:
        """The names of all objects that are applied."""
        return frozenset(step.key for step in self.steps if step.verb is Verb.APPLY)


class RestrictedLabelsError(ProblemsError):
    """The file sets labels that belong to the kubelet of each node."""

    code: ClassVar[str] = "deploy.restricted_labels"


class OthersObjectsError(ProblemsError):
    """Objects of the whole cluster have names that the installation of another file uses."""

    code: ClassVar[str] = "deploy.others_objects"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


def plan_deployment(wanted: LayoutObjects, snapshot: Snapshot, state: State, *, force: bool = False) -> Deployment:
    """Plan the steps from a snapshot to the objects of a layout; `force` takes over objects of other installations.

    Raises: RestrictedLabelsError, OthersObjectsError.
    """
    if not force:
        _check_owners(wanted, snapshot)
    applied = [
        Step(verb=Verb.APPLY, key=key, value=_leave_replicas(value, snapshot.objects.get(key)))
        for value in wanted.objects
        for key in (ObjectKey.read(value),)
    ]
    own_kinds = {_read_defined(value) for value in wanted.objects if Kind.read(value) == CRD}
    waiting = [step for step in applied if step.key.kind not in snapshot.served and step.key.kind not in own_kinds]
    pruned, kept = _split_left_over({step.key for step in applied}, snapshot, state, wanted.namespaces)
    return Deployment(
        steps=(
            *(step for step in applied if step not in waiting),
            *_plan_labels(wanted, snapshot),
            *(Step(verb=Verb.DELETE, key=key) for key in sort_for_deletion(pruned)),
        ),
        waiting=tuple(waiting),
        kept=tuple(sorted(kept)),
        absent_nodes=()
        if NODE in snapshot.unread
        else tuple(name for name in wanted.node_labels if not snapshot.find("Node", name)),
    )


def is_replaceable(kind: Kind, refusal: str) -> bool:
    """Return whether a refused object is made anew: a field of it cannot be changed, and nothing is lost by it."""
    return kind in _REPLACED and any(words in refusal for words in _IMMUTABLE)


def choose_propagation(kind: Kind) -> str:
    """Choose what becomes of what an object owns when it is made anew: a StatefulSet takes over the pods that it left,
    since its selector follows from its name."""
    return "Orphan" if kind == STATEFUL_SET else "Background"


def _check_owners(wanted: LayoutObjects, snapshot: Snapshot) -> None:
    """Check that no object is that of another installation. Raises: OthersObjectsError."""
    problems: list[Problem] = []
    for key in map(ObjectKey.read, wanted.objects):
        live = snapshot.objects.get(key)
        if live is None or key.kind in SHARED_KINDS:
            continue
        labels: Mapping[str, str] = live["metadata"].get("labels") or {}
        owner = labels.get(PART_OF, "")
        if owner != wanted.cluster and is_owned(live, owner):
            problems.append(
                Problem(
                    code=OthersObjectsError.code,
                    what=f"{key} is part of the installation {owner!r}, and this file is {wanted.cluster!r}",
                    where=str(key),
                    hint="choose another name in the cluster file, or take it over with `--force`",
                )
            )
    if problems:
        raise OthersObjectsError(problems)


def _split_left_over(
    applied: set[ObjectKey], snapshot: Snapshot, state: State, namespaces: Iterable[str]
) -> tuple[list[ObjectKey], list[ObjectKey]]:
    """Split the objects that are no longer rendered into those to prune and those that stay."""
    left_over = list_owned(snapshot, state, namespaces) - applied
    kept = [key for key in left_over if key.kind in KEPT_KINDS]
    return [key for key in left_over if key.kind not in KEPT_KINDS], kept


def _plan_labels(wanted: LayoutObjects, snapshot: Snapshot) -> list[Step]:
    """Plan the changes of nodes' labels. Labels in the domain of the file are removed where the file has them not.

    Raises: RestrictedLabelsError.
    """
    steps: list[Step] = []
    problems: list[Problem] = []
    prefix = wanted.installation.label_prefix
    for name, labels in wanted.node_labels.items():
        node = snapshot.find("Node", name)
        if node is None:
            continue
        metadata = node["metadata"]
        present: Mapping[str, str] = metadata.get("labels") or {}
        ours = {
            key
            for key in present
            if key.partition("/")[0] in (prefix, f"workload.{prefix}")
            or CORRAL in list_managers_of(metadata, ("metadata", "labels", key))
        }
        wishes: dict[str, str | None] = {key: None for key in ours if key not in labels} | dict(labels)
        change = {key: value for key, value in sorted(wishes.items()) if present.get(key) != value}
        problems += _check_labels(name, present, change)
        if change:
            steps.append(Step(verb=Verb.LABEL, key=ObjectKey(NODE, "", name), value={"metadata": {"labels": change}}))
    if problems:
        raise RestrictedLabelsError(problems)
    return steps


def _check_labels(node: str, present: Mapping[str, str], change: Mapping[str, str | None]) -> list[Problem]:
    return [
        Problem(
            code=RestrictedLabelsError.code,
            what=f"label {key} of node {node} is {present.get(key, 'not set')!r}, and the file "
            + ("removes it" if value is None else f"wants {value!r}")
            + ": the node's kubelet sets it",
            where=f"nodes[{node}].labels",
            hint=f"remove {key} from the file",
        )
        for key, value in change.items()
        if key in _OF_THE_NODE
    ]


def _leave_replicas(value: Json, live: Json | None) -> Json:
    """Leave the number of replicas out of an object where an autoscaler, or Corral on demand, has set it."""
    if live is None or "replicas" not in value.get("spec", {}):
        return value
    scalers = {
        entry["manager"]
        for entry in live["metadata"].get("managedFields") or ()
        if entry.get("subresource") == "scale" and ("spec", "replicas") in set(list_fields(entry))
    }
    if scalers.isdisjoint({CORRAL, "kube-controller-manager"}):
        return value
    return {**value, "spec": {key: part for key, part in value["spec"].items() if key != "replicas"}}


def _read_defined(definition: Json) -> Kind:
    """Read the kind that a CRD defines."""
    return Kind(definition["spec"]["group"], definition["spec"]["names"]["kind"])
