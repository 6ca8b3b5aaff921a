"""The readiness of workloads that were applied, and the time in which they must be ready."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from corral.cluster.values import StorageKind
from corral.container_images import split_reference
from corral.deploying.health import count_ready_wanted, find_causes, list_pods_of
from corral.deploying.order import DEPLOYMENT, STATEFUL_SET
from corral.hardware.fit.names import estimate_need
from corral.narrowing import as_object
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes.workloads import count_replicas, group_by_pod
from corral.rendering.model_pull import forecast_load_time, forecast_start_time, make_model_pull
from corral.rendering.programs import image_of
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.work import Json

_IMAGE_S = 1_800
"""The time for pulling an image that its node does not have: 12 GB over 100 Mbit/s take 16 minutes."""
_DOWNLOAD_BYTES_PER_S = 12.5e6
"""100 Mbit/s, for models that are fetched anew at each start."""
_MOST_IMAGES = 50
"""The images that a node lists at most (kubelet, `nodeStatusMaxImages`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unready:
    """A workload that is not ready."""

    workload: str
    """`StatefulSet ai/comfyui`"""
    wanted: int
    ready: int
    causes: tuple[str, ...]
    """Empty where nothing says why."""

    def __str__(self) -> str:
        why = f": {'; '.join(self.causes)}" if self.causes else ""
        return f"{self.workload.partition('/')[2]}: {self.ready} of {self.wanted} ready{why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartForecast:
    """The time that the services of a layout need to start."""

    expected_s: int
    """The longest load of a model, in seconds."""
    limit_s: int
    """The time after which they count as failed: with images to pull, models to fetch, and a margin."""


def list_unready(workloads: Iterable[Json], snapshot: Snapshot) -> tuple[Unready, ...]:
    """List the workloads among applied objects that are not ready as they were applied, with the causes."""
    return tuple(
        unready
        for value in workloads
        if Kind.read(value) in (DEPLOYMENT, STATEFUL_SET)
        if (unready := _judge(value, snapshot)) is not None
    )


def forecast_start(installation: Installation, snapshot: Snapshot) -> StartForecast:
    """Forecast how long the services of a layout need, on nodes as a snapshot has them."""
    members = [member for pod in group_by_pod(installation) if count_replicas(pod) for member in pod]
    return StartForecast(
        expected_s=max((forecast_load_time(member) for member in members), default=0),
        limit_s=max((_find_limit(installation, member, snapshot) for member in members), default=0),
    )


def _find_limit(installation: Installation, member: Deployed, snapshot: Snapshot) -> int:
    limit = forecast_start_time(member)
    if not _has_image(member, snapshot):
        limit += _IMAGE_S
    if make_model_pull(installation, member) is None:
        return limit
    if any(storage.kind is not StorageKind.EPHEMERAL for storage in member.storage[:1]):
        return limit
    needs = [estimate_need(engine, model) for engine in member.service.engines for model in member.service.models]
    return limit + round(sum(need.divisible.value for need in needs if need is not None) / _DOWNLOAD_BYTES_PER_S)


def _has_image(member: Deployed, snapshot: Snapshot) -> bool:
    """Return whether each node that the service can be on lists its image; one with a full list is unknown."""
    image = image_of(member.service)
    if image is None:
        return True
    for node in snapshot.list("Node"):
        if member.node not in (None, node["metadata"]["name"]):
            continue
        entries = as_object(node.get("status")).get("images") or ()
        names = {split_reference(name) for entry in entries for name in entry.get("names") or ()}
        if split_reference(image) not in names or len(entries) >= _MOST_IMAGES:
            return False
    return True


def _judge(value: Json, snapshot: Snapshot) -> Unready | None:
    key = ObjectKey.read(value)
    live = snapshot.objects.get(key)
    pods = list_pods_of(value, snapshot)
    wanted = (live or value)["spec"].get("replicas", 1)
    if live is not None and is_settled(live):
        return None
    ready = as_object((live or {}).get("status")).get("readyReplicas", 0)
    causes = tuple(dict.fromkeys(find_causes(snapshot, [live], pods)))
    return Unready(workload=str(key), wanted=wanted, ready=ready, causes=causes)


def is_settled(live: Json) -> bool:
    """Return whether all replicas of a workload are ready and of its newest form, and none is left of an older one.

    The rules are those of `kubectl rollout status`.
    """
    status = as_object(live.get("status"))
    wanted, ready = live["spec"].get("replicas", 1), count_ready_wanted(live)
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return False
    if status.get("readyReplicas", 0) < ready or status.get("replicas", 0) > wanted:
        return False
    if Kind.read(live) == STATEFUL_SET:
        return not wanted or status.get("currentRevision") == status.get("updateRevision")
    return status.get("updatedReplicas", 0) >= wanted and status.get("availableReplicas", 0) >= ready
