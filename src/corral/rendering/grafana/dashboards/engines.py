"""Engines: how long their tasks take, how many fail, how Corral's own server does."""

from __future__ import annotations

from corral.rendering.grafana.panels import Board, Graph, Query, Row, Variable
from corral.rendering.prometheus.sights import Sight

_CHOSEN = '{engine=~"$engine"}'
_BUCKETS = f"sum by (engine, le) (rate(corral_task_duration_seconds_bucket{_CHOSEN}[1h]))"


def board(sight: Sight) -> Board:
    """What each engine does; which engines there are, the tasks tell."""
    return Board(
        name="engines",
        title="engines",
        rows=(_tasks(), _server()),
        variables=(Variable(name="engine", label="Engine", query="label_values(corral_tasks_ended_total, engine)"),),
    )


def _tasks() -> Row:
    ended = f"sum by (engine) (increase(corral_tasks_ended_total{_CHOSEN}[1h]))"
    failed = 'sum by (engine) (increase(corral_tasks_ended_total{engine=~"$engine",outcome="failed"}[1h]))'
    total = f"sum by (engine) (rate(corral_task_duration_seconds_sum{_CHOSEN}[1h]))"
    count = f"sum by (engine) (rate(corral_task_duration_seconds_count{_CHOSEN}[1h]))"
    return Row(
        title="Tasks",
        panels=(
            Graph(title="Ended in the last hour", queries=(Query(expression=ended, legend="{{engine}}"),)),
            Graph(
                title="Failed, share",
                queries=(Query(expression=f"{failed} / on (engine) ({ended} > 0)", legend="{{engine}}"),),
                unit="percentunit",
                highest=1,
            ),
            Graph(
                title="Duration",
                queries=tuple(
                    Query(expression=f"histogram_quantile({share}, {_BUCKETS})", legend=f"{{{{engine}}}} {name}")
                    for name, share in (("half", 0.5), ("99 of 100", 0.99))
                ),
                unit="s",
                explains="Of the last attempt of tasks that succeeded; half, and 99 of 100, take no longer than this.",
            ),
            Graph(
                title="Duration, mean",
                queries=(Query(expression=f"{total} / on (engine) ({count} > 0)", legend="{{engine}}"),),
                unit="s",
            ),
        ),
    )


def _server() -> Row:
    return Row(
        title="Corral's server",
        panels=(
            Graph(
                title="Requests per second",
                queries=(
                    Query(expression="sum by (status) (rate(corral_http_requests_total[5m]))", legend="{{status}}"),
                ),
                unit="reqps",
                is_stacked=True,
            ),
            Graph(
                title="Requests and streams open",
                queries=(Query(expression="sum(corral_http_requests_in_progress)", legend="open"),),
            ),
        ),
    )
