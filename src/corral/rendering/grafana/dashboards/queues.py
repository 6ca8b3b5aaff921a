"""Queues and their pools: what waits, what runs, how full the slots are."""

from __future__ import annotations

from corral.cluster.values import QueueSettings
from corral.rendering.grafana.dashboards.cluster import ENERGY_24H
from corral.rendering.grafana.panels import Board, Graph, Query, Row, Stat
from corral.rendering.prometheus.recording import QUEUED, RUNNING, SLOTS, SLOTS_BUSY, SLOTS_FREE, slots_of
from corral.rendering.prometheus.sights import Sight


def board(sight: Sight) -> Board:
    """A row for each queue of the cluster file."""
    rows = [_queue(queue) for queue in sight.installation.cluster.queues.values()]
    return Board(name="queues", title="queues and pools", rows=(*rows, _endings(sight)))


def _queue(queue: QueueSettings) -> Row:
    pool = "every slot" if queue.pool is None else ", ".join(queue.pool)
    chosen = f'{{queue="{queue.name}"}}'
    busy = f"{SLOTS_BUSY}{chosen} / {SLOTS}{chosen}"
    return Row(
        title=f"{queue.name}: {pool}",
        columns=4,
        panels=(
            Stat(title="Queued", queries=(Query(expression=f"{QUEUED}{chosen} or vector(0)"),)),
            Stat(title="Running", queries=(Query(expression=f"{RUNNING}{chosen} or vector(0)"),)),
            Stat(title="Slots free", queries=(Query(expression=f"{SLOTS_FREE}{chosen} or vector(0)"),)),
            Stat(
                title="Slots busy, last 8 hours",
                queries=(Query(expression=f"avg_over_time(({busy})[8h:1m])"),),
                unit="percentunit",
                decimals=0,
            ),
            *_lines(queue, chosen),
        ),
    )


def _lines(queue: QueueSettings, chosen: str) -> tuple[Graph, ...]:
    return (
        Graph(
            title="Tasks by state",
            queries=(
                Query(
                    expression=f"max by (state) (corral_tasks_open{chosen})",
                    legend="{{state}}",
                ),
            ),
            is_stacked=True,
        ),
        Graph(
            title="Slots in use",
            queries=(
                Query(expression=f'max by (slot) (corral_slot_busy{{slot=~"{slots_of(queue)}"}})', legend="{{slot}}"),
            ),
            explains="1 while a task occupies the slot.",
            highest=1,
        ),
    )


def _endings(sight: Sight) -> Row:
    panels: list[Graph | Stat] = [
        Graph(
            title="Tasks ended per hour, by engine",
            queries=(
                Query(expression="sum by (engine) (increase(corral_tasks_ended_total[1h]))", legend="{{engine}}"),
            ),
            is_stacked=True,
        )
    ]
    if sight.gpu_nodes:
        done = 'sum(increase(corral_tasks_ended_total{outcome="succeeded"}[24h]))'
        panels.append(
            Graph(
                title="Energy per task, last 24 hours",
                queries=(Query(expression=f"{ENERGY_24H} / ({done} > 0)", legend="all cards"),),
                unit="kwatth",
                explains="All that the cards drew in a day over the tasks that succeeded in it.",
            )
        )
    return Row(title="What came out", panels=tuple(panels))
