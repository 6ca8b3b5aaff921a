"""Deletes an installation from a cluster: first what goes and what stays, then step by step."""

from __future__ import annotations

from dataclasses import dataclass

from corral.deploying.deletion import OBSERVED, Deletion, plan_deletion
from corral.deploying.order import CONFIG_MAP
from corral.deploying.state import PART_OF, STATE_NAME, State, name_state, read_state
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.deploying.applying import check_unchanged
from corral.operations.deploying.locking import hold_installation
from corral.operations.deploying.stepping import Objects, Report, StepDone, run_steps
from corral.rendering.installation import namespace_of
from corral.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """The deletion of an installation, and the cluster that it was planned on."""

    state: State
    plan: Deletion
    snapshot: Snapshot


async def observe_removal(cluster: Objects, file: FileText) -> Removal:
    """Find what a cluster file has on a cluster, whichever layout. Raises: ClusterFileError, TakenNamespaceError."""
    checked = check_cluster(file)
    key = name_state(namespace_of(checked.cluster))
    state = read_state(await cluster.get(key), checked.cluster.name, key.namespace)
    namespaces = {key.namespace, *(name.namespace for name in state.objects if name.namespace)}
    kinds = {*OBSERVED, *(name.kind for name in state.objects)}
    snapshot = await cluster.observe(sorted(kinds), sorted(namespaces))
    states = await cluster.list(CONFIG_MAP, None, labels=f"app.kubernetes.io/name={STATE_NAME}")
    owners = {value["metadata"]["labels"].get(PART_OF) for value in states}
    plan = plan_deletion(state, namespaces, snapshot, has_others=bool(owners - {state.cluster}))
    return Removal(state=state, plan=plan, snapshot=snapshot)


async def delete_installation(
    cluster: Objects, removal: Removal, *, report: Report = lambda _: None, dry_run: bool = False
) -> tuple[StepDone, ...]:
    """Carry out a deletion; a run that was interrupted is finished by the next.

    Raises: HalfDoneError, BusyInstallationError, ChangedInstallationError.
    """
    steps, state = removal.plan.steps, removal.state
    if dry_run or state.key not in removal.snapshot.objects:
        return await run_steps(cluster, steps, removal.snapshot, report=report, dry_run=dry_run)
    place = next(place for place, step in enumerate(steps) if step.key == state.key)
    last = steps[place:]  # without the lock, which is in the state
    async with hold_installation(cluster, state.cluster, state.namespace, "corral delete") as keeper:
        check_unchanged(keeper.state, state)
        done = await run_steps(cluster, steps[:place], removal.snapshot, report=report, later=len(last))
    return await run_steps(cluster, last, removal.snapshot, report=report, before=done)
