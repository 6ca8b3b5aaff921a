"""Alerts on GPUs, Corral itself, tasks and machines, each with what to do.

An alert is rendered only when the cluster file has what it watches: no alert on GPUs without GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from corral.rendering.prometheus.alerts import gpus, machines, tasks
from corral.rendering.prometheus.alerts.values import Alert
from corral.rendering.prometheus.targets import Sight


def list_alerts(sight: Sight) -> Iterator[tuple[str, tuple[Alert, ...]]]:
    """List every alert, by group."""
    if sight.gpu_nodes:
        yield "corral-gpus", gpus.list_alerts(sight)
    yield "corral-server", tasks.SERVER_ALERTS
    yield "corral-tasks", tasks.TASK_ALERTS
    if sight.in_kubernetes or sight.addresses:
        yield "corral-machines", machines.ALERTS
    if sight.in_kubernetes:
        yield "corral-kubernetes", machines.list_kubernetes_alerts(sight)


def list_groups(sight: Sight) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """List every group of rules as Prometheus reads it."""
    for name, group in list_alerts(sight):
        yield name, [alert.rule() for alert in group]
