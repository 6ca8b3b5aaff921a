"""Dashboards of the work: queues and their pools (what waits, what runs, how full the slots are), and engines."""

from __future__ import annotations

from corral.cluster.values import QueueSettings
from corral.rendering.grafana.machine_dashboards import ENERGY_24H
from corral.rendering.grafana.panels import Board, Graph, Query, Row, Stat, Variable
from corral.rendering.prometheus.recording import QUEUED, RUNNING, SLOTS, SLOTS_BUSY, SLOTS_FREE, match_devices
from corral.rendering.prometheus.targets import Targets


def make_queue_board(targets: Targets) -> Board:
    """A row for each queue of the cluster file."""
    rows = [_make_queue_row(queue) for queue in targets.installation.cluster.queues.values()]
    return Board(name="queues", title="queues and pools", rows=(*rows, _make_ending_row(targets)))


def _make_queue_row(queue: QueueSettings) -> Row:
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
            *_draw_lines(queue, chosen),
        ),
    )


def _draw_lines(queue: QueueSettings, chosen: str) -> tuple[Graph, ...]:
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
            title="Devices in use",
            queries=(
                Query(
                    expression=f'max by (device) (corral_slot_busy{{device=~"{match_devices(queue)}"}})',
                    legend="{{device}}",
                ),
            ),
            explains="1 while a task runs on the device.",
            highest=1,
        ),
    )


def _make_ending_row(targets: Targets) -> Row:
    panels: list[Graph | Stat] = [
        Graph(
            title="Tasks ended per hour, by engine",
            queries=(
                Query(expression="sum by (engine) (increase(corral_tasks_ended_total[1h]))", legend="{{engine}}"),
            ),
            is_stacked=True,
        )
    ]
    if targets.gpu_nodes:
        done = 'sum(increase(corral_tasks_ended_total{outcome="succeeded"}[24h]))'
        panels.append(
            Graph(
                title="Energy per task, last 24 hours",
                queries=(Query(expression=f"{ENERGY_24H} / ({done} > 0)", legend="all GPUs"),),
                unit="kwatth",
                explains="The energy of all GPUs in a day over the tasks that succeeded in it.",
            )
        )
    return Row(title="What came out", panels=tuple(panels))


_CHOSEN = '{engine=~"$engine"}'
_BUCKETS = f"sum by (engine, le) (rate(corral_task_duration_seconds_bucket{_CHOSEN}[1h]))"


def make_engine_board(targets: Targets) -> Board:
    """Make the dashboard of engines: those that have tasks."""
    return Board(
        name="engines",
        title="engines",
        rows=(_make_task_row(), _make_wait_row(), _make_server_row()),
        variables=(Variable(name="engine", label="Engine", query="label_values(corral_tasks_ended_total, engine)"),),
    )


def _make_task_row() -> Row:
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


def _make_wait_row() -> Row:
    waits = "sum by (class, le) (rate(corral_task_wait_seconds_bucket[1h]))"
    guests = "sum by (engine, le) (rate(corral_guest_wait_seconds_bucket[1h]))"
    lanes = "sum by (slot) (corral_slot_lanes_busy) / on (slot) sum by (slot) (corral_slot_lanes)"
    return Row(
        title="Waits, lanes and models",
        panels=(
            Graph(
                title="Wait of tasks, by class",
                queries=(Query(expression=f"histogram_quantile(0.95, {waits})", legend="{{class}}"),),
                unit="s",
                explains="95 of 100 tasks that ended in the last hour waited no longer for their last start.",
            ),
            Graph(
                title="Wait of requests, by engine",
                queries=(Query(expression=f"histogram_quantile(0.95, {guests})", legend="{{engine}}"),),
                unit="s",
                explains="95 of 100 requests of the doors waited no longer for their slot.",
            ),
            Graph(
                title="Lanes in use",
                queries=(Query(expression=lanes, legend="{{slot}}"),),
                unit="percentunit",
                highest=1,
            ),
            Graph(
                title="Models loaded and given up, last hour",
                queries=(
                    Query(
                        expression="sum by (slot) (increase(corral_model_loads_total[1h]))", legend="{{slot}} loaded"
                    ),
                    Query(
                        expression="sum by (slot) (increase(corral_model_evictions_total[1h]))",
                        legend="{{slot}} given up",
                    ),
                ),
                explains="Many loads on one slot: two models take turns there, and most of the time goes into loading.",
            ),
            Graph(
                title="Attempts lost, last hour",
                queries=(
                    Query(expression="sum by (engine) (increase(corral_attempts_lost_total[1h]))", legend="{{engine}}"),
                ),
            ),
            Graph(
                title="Power of this machine's GPUs",
                queries=(
                    Query(expression="sum by (device) (rate(corral_gpu_energy_joules_total[5m]))", legend="{{device}}"),
                ),
                unit="watt",
                explains="As Corral's own sampler measures it; NVIDIA's exporter has the other nodes.",
            ),
        ),
    )


def _make_server_row() -> Row:
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
