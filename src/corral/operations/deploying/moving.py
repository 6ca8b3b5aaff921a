"""Moves a cluster from its objects to others: workloads end, claims are let go of, objects are applied."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import ClassVar

from corral.deploying.applied import extract_applied, put_replicas
from corral.deploying.capacity import RESOURCE_CLAIM
from corral.deploying.differences import compare_objects
from corral.deploying.health import list_pods_of
from corral.deploying.order import CLAIM, DEPLOYMENT, POD, STATEFUL_SET, VOLUME, rank_kind
from corral.deploying.storage_changes import list_reservable
from corral.deploying.switching import Move, holds_devices, read_pod
from corral.errors import CorralError, Kind
from corral.kubernetes.errors import RefusedError
from corral.narrowing import as_list, as_object
from corral.operations.deploying.stepping import Objects, run_steps
from corral.snapshot import ObjectKey, Snapshot
from corral.units import list_some
from corral.work import Json

_LOOK_S = 0.5
_END_MARGIN_S = 60.0
"""The time in addition to a pod's own (`terminationGracePeriodSeconds`) in which its end must be known."""
_RELEASED_WITHIN_S = 30.0
"""The time in which a volume is known to be free once its claim is gone."""


class NotEndedError(CorralError):
    """Pods do not end, or a claim or volume does not go."""

    code: ClassVar[str] = "switch.not_ended"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


async def find_changed(cluster: Objects, objects: Iterable[Json], snapshot: Snapshot) -> list[ObjectKey]:
    """Find the workloads with devices whose pods would be others, by a dry run of the server."""
    changed: list[ObjectKey] = []
    for value in objects:
        key = ObjectKey.read(value)
        live = snapshot.objects.get(key)
        if key.kind not in (DEPLOYMENT, STATEFUL_SET) or live is None or not holds_devices(live):
            continue
        try:
            after = await cluster.apply(value, force=True, dry_run=True)
        except RefusedError:  # it must be made anew
            changed.append(key)
            continue
        fields = compare_objects(live, after, value)
        if any(field.field.startswith((".spec.template", ".spec.volumeClaimTemplates")) for field in fields):
            changed.append(key)
    return changed


async def scale_down(cluster: Objects, workloads: Iterable[Json]) -> None:
    """Scale workloads to 0, as their only manager: a later `corral apply` finds no other one."""
    for workload in workloads:
        await cluster.apply(put_replicas(extract_applied(workload), 0), force=True)


async def wait_for_end(cluster: Objects, workloads: Sequence[Json]) -> None:
    """Wait until no pod of some workloads is left, and no device is allocated to one.

    Then the kubelet has given GPUs and volumes back. Raises: NotEndedError.
    """
    if not workloads:
        return
    namespaces = sorted({workload["metadata"]["namespace"] for workload in workloads})
    grace_s = max(read_pod(workload).get("terminationGracePeriodSeconds", 30) for workload in workloads)
    deadline = asyncio.get_running_loop().time() + grace_s + _END_MARGIN_S
    seen: set[str] = set()
    while True:
        snapshot = await cluster.observe((POD, RESOURCE_CLAIM), namespaces)
        pods = [pod for workload in workloads for pod in list_pods_of(workload, snapshot)]
        seen.update(pod["metadata"]["uid"] for pod in pods)
        left = [pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
        claims = [claim for claim in snapshot.list(RESOURCE_CLAIM.name) if _is_allocated_to(claim, seen)]
        if not left and not claims:
            return
        if asyncio.get_running_loop().time() > deadline:
            names = list_some([value["metadata"]["name"] for value in (*left, *claims)])
            nodes = sorted({pod["spec"].get("nodeName", "no node") for pod in left})
            where = f" on {', '.join(nodes)}" if nodes else ""
            raise NotEndedError(f"pods of the layout before do not end, or keep their GPUs: {names}{where}")
        await asyncio.sleep(_LOOK_S)


def _is_allocated_to(claim: Json, pods: set[str]) -> bool:
    owners = {owner["uid"] for owner in as_list(claim["metadata"].get("ownerReferences"))}
    return bool(owners & pods) and bool(as_object(claim.get("status")).get("allocation"))


async def apply_move(cluster: Objects, move: Move, snapshot: Snapshot, *, force: bool) -> None:
    """Apply the objects of a move; claims and volumes that must be made anew go first, and no data with them.

    Raises: HalfDoneError, NotEndedError, UnreachableError.
    """
    for volume in move.storage.released:
        await cluster.patch(volume, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
    for key in (*move.storage.claims, *move.storage.volumes):
        await _delete_and_wait(cluster, key)
    first = [step for step in move.steps if step.rank < rank_kind(CLAIM)]
    rest = [step for step in move.steps if step.rank >= rank_kind(CLAIM)]
    done = await run_steps(cluster, first, snapshot, force=force, later=len(rest))
    await _reserve_volumes(cluster, move)
    await run_steps(cluster, rest, snapshot, force=force, before=done)


async def _reserve_volumes(cluster: Objects, move: Move) -> None:
    """Give volumes that a claim had before to the claim that is made again: they forget the one that went."""
    namespaces = sorted({step.key.namespace for step in move.steps if step.key.kind == CLAIM})
    if not namespaces:
        return
    deadline = asyncio.get_running_loop().time() + _RELEASED_WITHIN_S
    left = {volume.volume for volume in move.storage.left}
    while True:
        snapshot = await cluster.observe((CLAIM, VOLUME), namespaces)
        volumes = [volume for volume in snapshot.list(VOLUME.name) if volume["metadata"]["name"] in left]
        is_bound = any(as_object(volume.get("status")).get("phase") == "Bound" for volume in volumes)
        if not is_bound or asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(_LOOK_S)
    for volume in list_reservable(move.objects, snapshot):
        await cluster.patch(volume, {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}})


async def _delete_and_wait(cluster: Objects, key: ObjectKey) -> None:
    await cluster.delete(key)
    deadline = asyncio.get_running_loop().time() + _END_MARGIN_S
    while await cluster.get(key) is not None:
        if asyncio.get_running_loop().time() > deadline:
            raise NotEndedError(f"{key} does not go: something still uses it", where=str(key))
        await asyncio.sleep(_LOOK_S)
