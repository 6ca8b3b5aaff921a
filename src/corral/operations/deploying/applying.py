"""Applies a layout: what the cluster is, what it lacks of the layout, all of it checked, then step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from corral.deploying.lock import put_lock
from corral.deploying.objects import LayoutObjects, make_layout_objects
from corral.deploying.order import NAMESPACE, NODE, VOLUME
from corral.deploying.state import State, name_state, read_state
from corral.deploying.steps import Deployment, Step, Verb, plan_deployment
from corral.deploying.storage_changes import find_storage_changes
from corral.deploying.switching import check_no_switch
from corral.errors import CorralError, Problem, ProblemsError
from corral.errors import Kind as ErrorKind
from corral.operations.cluster_file import ClusterText, FileText, check_cluster
from corral.operations.deploying.locking import hold_installation
from corral.operations.deploying.stepping import Objects, Report, StepDone, check_steps, run_steps
from corral.operations.placing import find_places
from corral.rendering.installation import namespace_of
from corral.snapshot import ObjectKey, Snapshot


class ChangedInstallationError(CorralError):
    """Another program has changed the installation between the look at it and the first change."""

    code: ClassVar[str] = "deploy.changed_installation"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class OtherStorageError(ProblemsError):
    """The file changes the storage of a claim in a way that its services must end for."""

    code: ClassVar[str] = "deploy.other_storage"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class NoLayoutError(CorralError):
    """The file has several layouts, and none is active on the cluster yet."""

    code: ClassVar[str] = "deploy.no_layout"
    kind: ClassVar[ErrorKind] = ErrorKind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A layout, and the cluster as it is: what every command on a cluster begins with."""

    wanted: LayoutObjects
    state: State
    snapshot: Snapshot
    plan: Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedStep:
    """A step that was carried out; without its object, which can be a Secret."""

    object: str
    verb: str
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What `apply_layout` has done."""

    layout: str
    before: str | None
    """The layout that was active before; None where none was."""
    steps: tuple[AppliedStep, ...]
    waiting: tuple[str, ...]
    """Objects whose kind the cluster does not serve."""
    kept: tuple[str, ...]
    """Objects that are no longer rendered, and stay: volumes with data and the like."""
    absent_nodes: tuple[str, ...]
    notes: tuple[str, ...]


async def observe_target(cluster: Objects, file: FileText, layout: str | None, *, force: bool = False) -> Target:
    """Read the cluster file, choose the layout (the active one unless named), and observe the cluster once.

    Raises: ClusterFileError, UnknownLayoutError, NoLayoutError, NoKubernetesError, TakenNamespaceError,
    RestrictedLabelsError, OthersObjectsError (unless `force`), and what `Objects` raises.
    """
    checked = check_cluster(file)
    key = name_state(namespace_of(checked.cluster))
    state = read_state(await cluster.get(key), checked.cluster.name, key.namespace)
    wanted = make_wanted(checked, choose_layout(checked, state, layout))
    snapshot = await observe_for(cluster, wanted, state)
    plan = plan_deployment(wanted, snapshot, state, force=force)
    return Target(wanted=wanted, state=state, snapshot=snapshot, plan=plan)


def make_wanted(checked: ClusterText, layout: str | None) -> LayoutObjects:
    """Make the objects of a layout of a cluster file. Raises: UnknownLayoutError, NoKubernetesError."""
    return make_layout_objects(checked.cluster, layout, source=checked.name, text=checked.text, find_places=find_places)


def choose_layout(checked: ClusterText, state: State, named: str | None) -> str | None:
    """Choose a layout: the named one, the active one, or the only one; None for a file without layouts.

    Raises: NoLayoutError.
    """
    names = tuple(checked.cluster.layouts)
    if named is not None:
        return named
    if state.layout in names:
        return state.layout
    if len(names) > 1:
        raise NoLayoutError(
            f"the file has the layouts {', '.join(names)}, and none is active on this cluster",
            where=checked.name,
            hint=f"name one: --layout {names[0]}",
        )
    return names[0] if names else None


async def observe_for(cluster: Objects, wanted: LayoutObjects, state: State) -> Snapshot:
    """Observe all that steps to a layout depend on: objects of its kinds, and nodes."""
    kinds = {*(key.kind for key in state.objects), *wanted.kinds, NAMESPACE, NODE, VOLUME}
    namespaces = {*wanted.namespaces, *(key.namespace for key in state.objects if key.namespace)}
    return await cluster.observe(sorted(kinds), sorted(namespaces))


async def apply_layout(
    cluster: Objects,
    target: Target,
    *,
    secrets: Sequence[Step] = (),
    report: Report = lambda _: None,
    force: bool = False,
    dry_run: bool = False,
) -> Applied:
    """Bring a cluster to a layout. `force` takes over fields that others have set; `dry_run` is the server's.
    `secrets` are steps that write Secrets; they come before what names these.

    Everything is checked first, and nothing is changed when a check fails. The state has the names of all objects
    before they are applied, and loses those that were pruned afterwards. Only one program changes an installation.

    Raises: OtherStorageError, UnfinishedSwitchError, RefusedStepsError, HalfDoneError, BusyInstallationError,
    ChangedInstallationError, UnreachableError.
    """
    plan = target.plan
    _check_storage(target)
    if not dry_run:
        check_no_switch(target.state)
    await check_steps(cluster, plan.steps, target.snapshot, force=force)
    if dry_run:
        done = await run_steps(cluster, plan.steps, target.snapshot, report=report, force=force, dry_run=True)
        return _conclude(target, done)
    begun = replace(
        target.state,
        layout=target.wanted.layout,
        objects=target.state.objects | {step.key for step in plan.steps if step.verb is not Verb.LABEL},
    )
    first = [step for step in plan.steps if step.key.kind == NAMESPACE]
    others = [step for step in plan.steps if step.key.kind != NAMESPACE]
    rest = [*secrets, *others]
    done = await run_steps(cluster, first, target.snapshot, report=report, force=force, later=len(rest))
    async with hold_installation(cluster, begun.cluster, begun.namespace, "corral apply") as keeper:
        check_unchanged(keeper.state, target.state)
        await keeper.write(begun)
        done = await run_steps(cluster, rest, target.snapshot, report=report, force=force, before=done)
        await keeper.write(replace(begun, objects=list_remembered(target)))
    return _conclude(target, done)


def _check_storage(target: Target) -> None:
    """Check that no claim must be made anew, since pods hold it. Raises: OtherStorageError."""
    changes = find_storage_changes(
        (step.value for step in target.plan.steps if step.verb is Verb.APPLY), target.snapshot
    )
    problems = [
        Problem(
            code=OtherStorageError.code,
            what=f"the file changes the storage of {key}, which cannot be changed while services use it",
            where=str(key),
            hint=f"run `corral switch {target.wanted.layout}`: it stops them, makes it anew, and deletes no data",
        )
        for key in (*changes.claims, *changes.volumes)
    ]
    if problems:
        raise OtherStorageError(problems)


def check_unchanged(now: State, then: State) -> None:
    """Check that an installation is as it was when its steps were planned. Raises: ChangedInstallationError."""
    if put_lock(then, None) != now:
        raise ChangedInstallationError(
            f"another program has changed the installation {now.cluster} meanwhile",
            where=str(now.key),
            hint="run the command again",
        )


def list_remembered(target: Target) -> frozenset[ObjectKey]:
    """List the objects that the installation has on the cluster after all steps: applied, kept, or unknown."""
    unknown = {key for key in target.state.objects if key.kind in target.snapshot.unread}
    return target.plan.applied | set(target.plan.kept) | unknown


def _conclude(target: Target, done: tuple[StepDone, ...]) -> Applied:
    return Applied(
        layout=target.wanted.layout,
        before=target.state.layout,
        steps=tuple(
            AppliedStep(object=str(part.step.key), verb=part.step.verb.value, result=part.result) for part in done
        ),
        waiting=tuple(str(step.key) for step in target.plan.waiting),
        kept=tuple(map(str, target.plan.kept)),
        absent_nodes=target.plan.absent_nodes,
        notes=target.wanted.notes,
    )
