"""The overview: is everything there, does it work, what does it cost."""

from __future__ import annotations

from collections.abc import Iterator

from corral.rendering.grafana.panels import Board, Graph, Query, Row, Stat
from corral.rendering.prometheus.recording import GPUS_EXPECTED, GPUS_SEEN, NODE_UP, QUEUED, RUNNING
from corral.rendering.prometheus.sights import Sight

_MILLIJOULES_OF_KWH = 1000 * 3_600_000
_REAL_DISKS = 'fstype!~"tmpfs|ramfs|overlay|squashfs|fuse.*|nsfs"'
ENERGY_24H = f"sum(max by (node, gpu) (increase(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION[24h]))) / {_MILLIJOULES_OF_KWH}"
"""Kilowatt-hours of all cards in a day; DCGM counts millijoules."""


def board(sight: Sight) -> Board:
    """The overview of a cluster."""
    rows = [Row(title="Now", panels=tuple(_now(sight)), columns=6), _work()]
    if sight.gpu_nodes:
        rows.append(_power())
    rows.append(_machines())
    return Board(name="cluster", title="overview", rows=tuple(rows))


def _now(sight: Sight) -> Iterator[Stat]:
    yield Stat(title="Corral leads", queries=(Query(expression="max(corral_dispatcher_leading)"),), bad_below=1)
    yield Stat(title="Database", queries=(Query(expression="min(corral_database_up)"),), bad_below=1)
    nodes = len(sight.installation.cluster.nodes)
    yield Stat(title=f"Nodes up, of {nodes}", queries=(Query(expression=f"sum({NODE_UP})"),), bad_below=nodes)
    if sight.gpu_nodes:
        yield Stat(
            title="GPUs missing",
            queries=(Query(expression=f"sum({GPUS_EXPECTED}) - sum({GPUS_SEEN})"),),
            explains="Cards of the cluster file less those that DCGM sees.",
            bad_from=1,
        )
    yield Stat(title="Tasks queued", queries=(Query(expression=f"sum({QUEUED}) or vector(0)"),))
    yield Stat(
        title="Alerts",
        queries=(Query(expression='count(ALERTS{alertstate="firing",severity!="info"}) or vector(0)'),),
        bad_from=1,
    )


def _work() -> Row:
    return Row(
        title="Work",
        panels=(
            Graph(
                title="Tasks queued and running",
                queries=(
                    Query(expression=f"sum({QUEUED})", legend="queued"),
                    Query(expression=f"sum({RUNNING})", legend="running"),
                ),
            ),
            Graph(
                title="Tasks ended in the last hour",
                queries=(
                    Query(
                        expression="sum by (outcome) (increase(corral_tasks_ended_total[1h]))",
                        legend="{{outcome}}",
                    ),
                ),
                is_stacked=True,
            ),
        ),
    )


def _power() -> Row:
    return Row(
        title="GPUs",
        panels=(
            Graph(
                title="Power of all cards, by node",
                queries=(
                    Query(expression="sum by (node) (max by (node, gpu) (DCGM_FI_DEV_POWER_USAGE))", legend="{{node}}"),
                ),
                unit="watt",
                is_stacked=True,
            ),
            Graph(
                title="Energy of the last 24 hours",
                queries=(Query(expression=ENERGY_24H, legend="all cards"),),
                unit="kwatth",
                explains="What the cards counted themselves; processors, disks and the losses of supplies come on top.",
            ),
        ),
    )


def _machines() -> Row:
    free = f"node_filesystem_avail_bytes{{{_REAL_DISKS}}} / node_filesystem_size_bytes{{{_REAL_DISKS}}}"
    return Row(
        title="Machines",
        panels=(
            Graph(
                title="Processors in use",
                queries=(
                    Query(
                        expression='1 - avg by (node) (rate(node_cpu_seconds_total{mode="idle"}[5m]))',
                        legend="{{node}}",
                    ),
                ),
                unit="percentunit",
                highest=1,
            ),
            Graph(
                title="Memory in use",
                queries=(
                    Query(
                        expression="1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", legend="{{node}}"
                    ),
                ),
                unit="percentunit",
                highest=1,
            ),
            Graph(
                title="Disks: free share",
                queries=(Query(expression=f"min by (node, mountpoint) ({free})", legend="{{node}} {{mountpoint}}"),),
                unit="percentunit",
                highest=1,
            ),
            Graph(
                title="Network received",
                queries=(
                    Query(
                        expression='sum by (node) (rate(node_network_receive_bytes_total{device!~"lo|veth.*"}[5m]))',
                        legend="{{node}}",
                    ),
                ),
                unit="Bps",
                explains="Models over NFS are seen here.",
            ),
        ),
    )
