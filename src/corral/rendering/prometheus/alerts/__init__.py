"""Alerts on GPUs, Corral itself, tasks and machines, each with what to do.

An alert is rendered only when the cluster file has what it watches: no alert on GPUs without GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from corral.rendering.prometheus.alerts import gpus, machines, tasks
from corral.rendering.prometheus.alerts.values import Alert
from corral.rendering.prometheus.targets import Targets


def list_alerts(targets: Targets) -> Iterator[tuple[str, tuple[Alert, ...]]]:
    """List every alert, by group."""
    if targets.gpu_nodes:
        yield "corral-gpus", gpus.list_alerts(targets)
    yield "corral-server", tasks.SERVER_ALERTS
    yield "corral-tasks", tasks.TASK_ALERTS
    if targets.in_kubernetes or targets.addresses:
        yield "corral-machines", machines.ALERTS
    if targets.in_kubernetes:
        yield "corral-kubernetes", machines.list_kubernetes_alerts(targets)


def list_groups(targets: Targets) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """List every group of rules as Prometheus reads it."""
    for name, group in list_alerts(targets):
        yield name, [alert.to_rule() for alert in group]
