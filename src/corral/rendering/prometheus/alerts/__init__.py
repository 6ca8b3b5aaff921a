"""Alerts: cards, Corral itself, tasks and machines; each tells what to do.

An alert is written only when the cluster file has what it watches: no alert on cards without cards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from corral.rendering.prometheus.alerts import cards, machines, server, tasks
from corral.rendering.prometheus.alerts.values import Alert
from corral.rendering.prometheus.sights import Sight


def alerts(sight: Sight) -> Iterator[tuple[str, tuple[Alert, ...]]]:
    """Every alert, by group."""
    if sight.gpu_nodes:
        yield "corral-gpus", cards.alerts(sight)
    yield "corral-server", server.ALERTS
    yield "corral-tasks", tasks.ALERTS
    if sight.in_kubernetes or sight.addresses:
        yield "corral-machines", machines.ALERTS
    if sight.in_kubernetes:
        yield "corral-kubernetes", machines.in_kubernetes(sight)


def groups(sight: Sight) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Every group of rules as Prometheus reads it."""
    for name, found in alerts(sight):
        yield name, [alert.rule() for alert in found]
