"""Alerts on machines: down, or filling up; and on what Kubernetes knows in addition."""

from __future__ import annotations

from corral.rendering.prometheus.alerts.values import Alert, Severity
from corral.rendering.prometheus.recording import NODE_UP
from corral.rendering.prometheus.targets import Targets

_REAL = (
    'fstype!~"tmpfs|ramfs|overlay|squashfs|fuse.*|nsfs",mountpoint!~"/var/lib/(kubelet|docker|containers)/.+|/run/.+"'
)
"""File systems on a disk, once each: not those of containers."""
_FREE = f"node_filesystem_avail_bytes{{{_REAL}}}"
_SHARE = f"{_FREE} / node_filesystem_size_bytes{{{_REAL}}}"
SOON_SHARE = 0.2
FULL_SHARE = 0.05
_DAY_S = 24 * 3600
_WHERE = "{{ $labels.mountpoint }} of {{ $labels.node }}"
_CLEAN = (
    "`corral gc` removes artifacts and tasks past their retention, `corral models list` shows what models take, "
    "`corral models rm` removes one."
)

ALERTS = (
    Alert(
        name="NodeDown",
        expression=f"{NODE_UP} == 0",
        lasting="3m",
        severity=Severity.CRITICAL,
        summary="{{ $labels.node }} is down",
        description=(
            "Its tasks are tried on other slots when their leases end. Is it a hard cut under load? Then `corral "
            "power` for its supply. `corral slots list` shows what is left."
        ),
        reason="Three minutes are a restart without the firmware's memory test.",
    ),
    Alert(
        name="DiskFills",
        expression=f"predict_linear({_FREE}[6h], {_DAY_S}) < 0 and {_SHARE} < {SOON_SHARE}",
        lasting="30m",
        severity=Severity.WARNING,
        summary=f"{_WHERE} is full within a day",
        description=f"{_CLEAN} Images of containers: `crictl rmi --prune` or `docker image prune`.",
        reason=(
            "A line through the last six hours reaches zero within 24; and less than a fifth is free, since a model "
            "that is being pulled looks like a leak on an empty disk."
        ),
    ),
    Alert(
        name="DiskFull",
        expression=f"{_SHARE} < {FULL_SHARE}",
        lasting="5m",
        severity=Severity.CRITICAL,
        summary=f"{_WHERE} has {{{{ $value | humanizePercentage }}}} left",
        description=f"A database on it stops when it is full. {_CLEAN}",
        reason="A twentieth of a usual disk is one large model; the kubelet evicts pods at 10 to 15 %.",
    ),
)


def list_kubernetes_alerts(targets: Targets) -> tuple[Alert, ...]:
    """Volumes, and Kueue where the cluster file has it."""
    return (_VOLUME_FILLS, *((_KUEUE_PENDING,) if targets.has_kueue else ()))


_VOLUME = "namespace, persistentvolumeclaim"
_VOLUME_FREE = f"max by ({_VOLUME}) (kubelet_volume_stats_available_bytes)"
_VOLUME_FILLS = Alert(
    name="VolumeFills",
    expression=(
        f"max by ({_VOLUME}) (predict_linear(kubelet_volume_stats_available_bytes[6h], {_DAY_S})) < 0 "
        f"and on ({_VOLUME}) {_VOLUME_FREE} / max by ({_VOLUME}) (kubelet_volume_stats_capacity_bytes) < {SOON_SHARE}"
    ),
    lasting="30m",
    severity=Severity.WARNING,
    summary="the volume {{ $labels.persistentvolumeclaim }} in {{ $labels.namespace }} is full within a day",
    description=(
        "Remove models that nothing uses, or enlarge `size` of the storage in the cluster file and of the claim. "
        "A local volume is a folder: it fills its node's disk too."
    ),
    reason="As for disks; the kubelet reports each claim that is mounted.",
)
_KUEUE_PENDING = Alert(
    name="KueueWorkloadsPending",
    expression='max by (cluster_queue, status) (kueue_pending_workloads{status="inadmissible"}) > 0',
    lasting="30m",
    severity=Severity.WARNING,
    summary="{{ $value }} workloads wait in {{ $labels.cluster_queue }} and cannot be admitted",
    description=(
        "They ask for more than the queue's quota, or for a resource that it does not cover: `kubectl get workloads "
        "--all-namespaces`, then `kubectl describe workload`; its event has the reason. Quotas come from the cluster "
        "file: `corral render --only kueue`."
    ),
    reason="`inadmissible` are those that Kueue tried and put aside; half an hour is longer than a running Job's turn.",
)
