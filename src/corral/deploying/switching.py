"""A switch from one layout to another, or of the storage within one: its stages, and its record on the cluster.

The record of a switch and the objects that were there before it are in the state of the installation, so that whichever
program comes next, on any machine, goes on or rolls back. Every stage can be repeated: what it does follows from a new
look at the cluster.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import ClassVar

from corral.deploying.applied import extract_applied, pack_objects, unpack_objects
from corral.deploying.order import (
    CLAIM,
    CRD,
    DEPLOYMENT,
    JOB,
    NAMESPACE,
    NODE,
    SECRET,
    SERVICE,
    STATEFUL_SET,
    VOLUME,
    sort_for_deletion,
    sort_objects,
)
from corral.deploying.state import State, list_owned
from corral.deploying.steps import KEPT_KINDS, Deployment, Step, Verb
from corral.deploying.storage_changes import StorageChanges, find_storage_changes
from corral.errors import CorralError, Kind
from corral.narrowing import as_object
from corral.snapshot import Kind as ObjectKind
from corral.snapshot import ObjectKey, Snapshot
from corral.work import Json

_RECORD = "switch"
_SNAPSHOT = "switch-snapshot"
_NOT_RESTORED = frozenset({CRD, JOB, NAMESPACE, NODE, SECRET})


class Stage(StrEnum):
    """A stage of a switch; they are done in this order."""

    DRAIN = "drain"
    SCALE = "scale"
    FREE = "free"
    APPLY = "apply"
    VERIFY = "verify"
    PRUNE = "prune"


STAGES = tuple(Stage)


class Way(StrEnum):
    """The way that a run of `corral switch` goes."""

    BEGIN = "begin"
    FORWARD = "forward"
    """Go on with a switch that was interrupted."""
    BACK = "back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A switch that is under way."""

    before: str
    """The layout that was active."""
    after: str
    stage: Stage = Stage.DRAIN
    begun_at: str = ""
    """ISO 8601."""
    is_back: bool = False
    """Whether it is being rolled back."""
    why: str = ""
    """Why it is rolled back."""
    closed: tuple[str, ...] = ()
    """Services that the queue gives nothing more: `ai/ollama`."""
    drained: tuple[str, ...] = ()
    """Slots that were closed by name, and are opened when it ends."""


class UnfinishedSwitchError(CorralError):
    """A switch is under way, and something else was asked for."""

    code: ClassVar[str] = "deploy.unfinished_switch"
    kind: ClassVar[Kind] = Kind.CONFLICT


class NothingActiveError(CorralError):
    """No layout is active on the cluster, so there is nothing to switch from."""

    code: ClassVar[str] = "deploy.nothing_active"
    kind: ClassVar[Kind] = Kind.MISSING


def read_switch(state: State) -> Switch | None:
    """Read the switch that is under way; None where none is."""
    text = state.others.get(_RECORD)
    if text is None:
        return None
    value = json.loads(text)
    return Switch(
        before=value["before"],
        after=value["after"],
        stage=Stage(value["stage"]),
        begun_at=value["begun_at"],
        is_back=value["is_back"],
        why=value["why"],
        closed=tuple(value["closed"]),
        drained=tuple(value["drained"]),
    )


def put_switch(state: State, switch: Switch | None) -> State:
    """Return the state with the record of a switch; None ends it, and its snapshot with it."""
    if switch is None:
        return state.keep(_RECORD, None).keep(_SNAPSHOT, None)
    return state.keep(_RECORD, json.dumps(asdict(switch)))


def put_snapshot(state: State, snapshot: Snapshot, namespaces: Iterable[str]) -> State:
    """Return the state with the objects that the installation has now, as they were applied."""
    keys = sorted(list_owned(snapshot, state, namespaces))
    values = [extract_applied(snapshot.objects[key]) for key in keys if key.kind not in _NOT_RESTORED]
    return state.keep(_SNAPSHOT, pack_objects(values))


def read_snapshot(state: State) -> tuple[Json, ...]:
    """Read the objects that the installation had before the switch, in the order in which they are applied."""
    text = state.others.get(_SNAPSHOT)
    return () if text is None else sort_objects(unpack_objects(text))


def choose_way(state: State, asked: str, *, back: bool = False) -> Way:
    """Choose the way: a switch that is under way goes on, or back where its first layout (or `back`) is asked for.

    Raises: UnfinishedSwitchError, NothingActiveError.
    """
    switch = read_switch(state)
    if switch is None:
        if back:
            raise NothingActiveError("no switch is under way, so there is nothing to roll back", where=str(state.key))
        if state.layout is None:
            raise NothingActiveError(
                f"no layout of {state.cluster} is active on this cluster",
                where=str(state.key),
                hint=f"corral apply --layout {asked}",
            )
        return Way.BEGIN
    if back or switch.is_back or (asked == switch.before != switch.after):
        if back or asked in (switch.before, switch.after):
            return Way.BACK
    elif asked == switch.after:
        return Way.FORWARD
    raise make_unfinished_error(state, switch)


def make_unfinished_error(state: State, switch: Switch) -> UnfinishedSwitchError:
    """Make the error of a run that would cross a switch that is under way."""
    where = f"rolling back to {switch.before}" if switch.is_back else f"at {switch.stage}"
    return UnfinishedSwitchError(
        f"a switch from {switch.before} to {switch.after} was begun at {switch.begun_at} and has not ended: {where}",
        where=str(state.key),
        hint=f"`corral switch {switch.after}` goes on, `corral switch --back` rolls back",
    )


def check_no_switch(state: State) -> None:
    """Check that no switch is under way. Raises: UnfinishedSwitchError."""
    switch = read_switch(state)
    if switch is not None:
        raise make_unfinished_error(state, switch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The way from the objects of the cluster to others."""

    stopped: tuple[Json, ...]
    """Workloads that must end first, as they are on the cluster: they go, or hold a GPU or volume that is needed."""
    storage: StorageChanges
    steps: tuple[Step, ...]
    """Applied and labelled in this order."""
    pruned: tuple[Step, ...]
    kept: tuple[ObjectKey, ...]
    """No longer applied, and not pruned."""

    @property
    def objects(self) -> tuple[Json, ...]:
        """The objects that are applied."""
        return tuple(step.value for step in self.steps if step.verb is Verb.APPLY)


def plan_forward(
    plan: Deployment, snapshot: Snapshot, owned: Iterable[ObjectKey], changed: Iterable[ObjectKey]
) -> Move:
    """Plan the move to a layout; `changed` are workloads whose pods would be others."""
    return _plan_move(
        tuple(step for step in plan.steps if step.verb is not Verb.DELETE),
        tuple(step for step in plan.steps if step.verb is Verb.DELETE),
        plan.kept,
        snapshot,
        owned,
        changed,
    )


def plan_back(
    values: Iterable[Json], snapshot: Snapshot, owned: Iterable[ObjectKey], changed: Iterable[ObjectKey]
) -> Move:
    """Plan the move back to the objects that were there before a switch."""
    steps = tuple(Step(verb=Verb.APPLY, key=ObjectKey.read(value), value=value, forced=True) for value in values)
    left_over = [key for key in owned if key not in {step.key for step in steps}]
    going = sort_for_deletion(key for key in left_over if key.kind not in KEPT_KINDS)
    kept = tuple(key for key in sorted(left_over) if key.kind in KEPT_KINDS and key.kind not in _NOT_RESTORED)
    return _plan_move(steps, tuple(Step(verb=Verb.DELETE, key=key) for key in going), kept, snapshot, owned, changed)


def _plan_move(
    steps: tuple[Step, ...],
    pruned: tuple[Step, ...],
    kept: tuple[ObjectKey, ...],
    snapshot: Snapshot,
    owned: Iterable[ObjectKey],
    changed: Iterable[ObjectKey],
) -> Move:
    objects = tuple(step.value for step in steps if step.verb is Verb.APPLY)
    storage = find_storage_changes(objects, snapshot)
    keys, others = {step.key for step in steps}, frozenset(changed)
    stopped = [
        value
        for key in sorted(owned)
        if key.kind in (DEPLOYMENT, STATEFUL_SET) and (value := snapshot.objects.get(key)) is not None
        if key not in keys or uses_claims(value, storage.claims) or (key in others and holds_devices(value))
    ]
    return Move(
        stopped=tuple(stopped),
        storage=storage,
        steps=steps,
        pruned=pruned,
        kept=kept,
    )


def uses_claims(workload: Json, claims: Iterable[ObjectKey]) -> bool:
    """Return whether the pods of a workload use one of these claims."""
    names = {key.name for key in claims if key.namespace == workload["metadata"]["namespace"]}
    return bool(names & list_claims(read_pod(workload)))


def list_claims(pod: Json) -> frozenset[str]:
    """List the names of the claims that the specification of a pod uses."""
    return frozenset(
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod.get("volumes") or ()
        if volume.get("persistentVolumeClaim")
    )


def holds_devices(workload: Json) -> bool:
    """Return whether the pods of a workload hold devices, such as GPUs: by claim or by count."""
    pod = read_pod(workload)
    return bool(pod.get("resourceClaims")) or any(list_devices(container) for container in pod.get("containers") or ())


def list_devices(container: Json) -> Mapping[str, str]:
    """List the devices that a container asks for by count: `nvidia.com/gpu`."""
    resources = as_object(container.get("resources"))
    asked = {**as_object(resources.get("requests")), **as_object(resources.get("limits"))}
    return {name: str(count) for name, count in asked.items() if "/" in name}


def read_pod(workload: Json) -> Json:
    """Read the specification of a workload's pods."""
    return workload["spec"]["template"]["spec"]


def list_closed_services(stopped: Iterable[Json], snapshot: Snapshot) -> tuple[str, ...]:
    """List the Services whose pods are those of workloads that stop: `ai/ollama`."""
    workloads = list(stopped)
    return tuple(
        f"{service['metadata']['namespace']}/{service['metadata']['name']}"
        for service in snapshot.list(SERVICE.name)
        if any(_selects(service, workload) for workload in workloads)
    )


def _selects(service: Json, workload: Json) -> bool:
    selector: Mapping[str, str] = service["spec"].get("selector") or {}
    labels: Mapping[str, str] = workload["spec"]["template"]["metadata"].get("labels") or {}
    is_near = service["metadata"]["namespace"] == workload["metadata"]["namespace"]
    return bool(selector) and is_near and selector.items() <= labels.items()


def list_observed() -> tuple[ObjectKind, ...]:
    """List the kinds that a move depends on in addition to those of the installation."""
    return (CLAIM, VOLUME, SERVICE, DEPLOYMENT, STATEFUL_SET)
