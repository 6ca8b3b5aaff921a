"""The objects that go when an installation is deleted, in which order, and those that stay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from corral.deploying.fields import list_managers_of
from corral.deploying.order import (
    CLAIM,
    CONFIG_MAP,
    CRD,
    JOB,
    NAMESPACE,
    NODE,
    POD,
    SECRET,
    SERVICE,
    VOLUME,
    WORKLOADS,
    sort_for_deletion,
)
from corral.deploying.state import CORRAL, State, is_owned, list_owned
from corral.deploying.steps import SHARED_KINDS, Step, Verb
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.work import Json

OBSERVED = (*WORKLOADS, CONFIG_MAP, SECRET, SERVICE, CLAIM, VOLUME, JOB, POD, NAMESPACE, NODE)
"""Kinds that are looked at in addition to those of the state, to see whether others use a namespace."""
_OF_EVERY_NAMESPACE = frozenset({("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An object that stays."""

    object: str
    reason: str
    command: str | None
    """What deletes it; None where that is not meant to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """The steps that delete an installation."""

    steps: tuple[Step, ...]
    kept: tuple[Kept, ...]


def plan_deletion(state: State, namespaces: Iterable[str], snapshot: Snapshot, *, has_others: bool) -> Deletion:
    """Plan the deletion of everything that an installation has applied; the state goes last.

    `has_others`: whether another installation is on the cluster; it uses the classes that all share, and labels of
    nodes.
    """
    own = sorted({*namespaces, state.namespace})
    going: list[ObjectKey] = []
    kept: list[Kept] = []
    for key in sorted(list_owned(snapshot, state, own)):
        reason = _find_reason_to_stay(key, has_others=has_others)
        if reason is not None:
            kept.append(Kept(object=str(key), reason=reason, command=_write_command(key)))
        elif key.kind != NAMESPACE:
            going.append(key)
    kept += _list_secrets(state, own, snapshot)
    ending = [*going, state.key] if state.key in snapshot.objects else going
    steps = [Step(verb=Verb.DELETE, key=key) for key in sort_for_deletion(going)]
    steps += [] if has_others else _plan_labels(snapshot)
    steps += [Step(verb=Verb.DELETE, key=key) for key in ending[len(going) :]]
    for name in own:
        namespace = snapshot.objects.get(ObjectKey(NAMESPACE, "", name))
        if namespace is None:
            continue
        reason = _find_use(name, namespace, snapshot, {*ending}, state)
        if reason is None:
            steps.append(Step(verb=Verb.DELETE, key=ObjectKey.read(namespace)))
        else:
            kept.append(Kept(object=f"Namespace {name}", reason=reason, command=None))
    return Deletion(steps=tuple(steps), kept=tuple(kept))


def _plan_labels(snapshot: Snapshot) -> list[Step]:
    """Plan the removal of the labels that Corral has put on nodes."""
    steps: list[Step] = []
    for node in snapshot.list(NODE.name):
        metadata = node["metadata"]
        labels = [
            key
            for key in metadata.get("labels") or ()
            if CORRAL in list_managers_of(metadata, ("metadata", "labels", key))
        ]
        if labels:
            change = {"metadata": {"labels": dict.fromkeys(sorted(labels))}}
            steps.append(Step(verb=Verb.LABEL, key=ObjectKey.read(node), value=change))
    return steps


def _find_reason_to_stay(key: ObjectKey, *, has_others: bool) -> str | None:
    if key.kind in (CLAIM, VOLUME):
        return "has data"
    if key.kind == CRD:
        return "has objects of others"
    if key.kind == JOB:
        return "is work"
    if key.kind == NODE:
        return "is a machine"
    if has_others and key.kind in SHARED_KINDS and key.kind != NAMESPACE:
        return "another installation uses it"
    return None


def _write_command(key: ObjectKey) -> str:
    scope = f" --namespace {key.namespace}" if key.namespace else ""
    return f"kubectl delete {str(key.kind).lower()} {key.name}{scope}"


def _list_secrets(state: State, namespaces: Iterable[str], snapshot: Snapshot) -> list[Kept]:
    """List the Secrets that were made for this installation: a database that stays has their passwords."""
    return [
        Kept(object=str(key), reason="has secrets", command=_write_command(key))
        for namespace in namespaces
        for value in snapshot.list(SECRET.name, namespace)
        for key in (ObjectKey.read(value),)
        if is_owned(value, state.cluster)
    ]


def _find_use(name: str, namespace: Json, snapshot: Snapshot, going: set[ObjectKey], state: State) -> str | None:
    """Find why a namespace stays; None where nothing else is in it."""
    if not is_owned(namespace, state.cluster):
        return "it was there before"
    unread = [str(kind) for kind in snapshot.unread]
    if unread:
        return f"it is unknown what else is in it: {', '.join(unread)} cannot be read"
    others = [
        key
        for key, value in snapshot.objects.items()
        if key.namespace == name
        and key not in going
        and (key.kind.name, key.name) not in _OF_EVERY_NAMESPACE
        and not value["metadata"].get("ownerReferences")
        and key.kind != Kind("", "Event")
    ]
    return f"it has {', '.join(map(str, others[:3]))}{' and more' if len(others) > 3 else ''}" if others else None
