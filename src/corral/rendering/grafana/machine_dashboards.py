"""Dashboards of the machines: the cluster at a glance, and its GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from corral.rendering.gpus import list_nvidia_gpus, product_name
from corral.rendering.grafana.panels import Board, Graph, Query, Row, Stat, Variable
from corral.rendering.prometheus.alerts.gpus import (
    HARDWARE_THERMAL,
    POWER_BRAKE,
    SOFTWARE_POWER_CAP,
    SOFTWARE_THERMAL,
    check_bit,
)
from corral.rendering.prometheus.recording import (
    CLOCK_REASONS,
    GPUS_EXPECTED,
    GPUS_SEEN,
    NODE_UP,
    POWER_LIMIT_EXPECTED,
    QUEUED,
    REPORTED,
    RUNNING,
    XID,
)
from corral.rendering.prometheus.targets import Targets

_MILLIJOULES_OF_KWH = 1000 * 3_600_000
_REAL_DISKS = 'fstype!~"tmpfs|ramfs|overlay|squashfs|fuse.*|nsfs"'
ENERGY_24H = f"sum(max by (node, gpu) (increase(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION[24h]))) / {_MILLIJOULES_OF_KWH}"
"""Kilowatt-hours of all GPUs in a day; DCGM counts millijoules."""


def make_cluster_board(targets: Targets) -> Board:
    """Make the overview of a cluster."""
    rows = [Row(title="Now", panels=tuple(_make_status_row(targets)), columns=6), _work()]
    if targets.gpu_nodes:
        rows.append(_make_power_row())
    rows.append(_make_machine_row())
    return Board(name="cluster", title="overview", rows=tuple(rows))


def _make_status_row(targets: Targets) -> Iterator[Stat]:
    yield Stat(title="Corral leads", queries=(Query(expression="max(corral_dispatcher_leading)"),), bad_below=1)
    yield Stat(title="Database", queries=(Query(expression="min(corral_database_up)"),), bad_below=1)
    nodes = len(targets.installation.cluster.nodes)
    yield Stat(title=f"Nodes up, of {nodes}", queries=(Query(expression=f"sum({NODE_UP})"),), bad_below=nodes)
    if targets.gpu_nodes:
        yield Stat(
            title="GPUs missing",
            queries=(Query(expression=f"sum({GPUS_EXPECTED}) - sum({GPUS_SEEN})"),),
            explains="GPUs of the cluster file less those that DCGM sees.",
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


def _make_power_row() -> Row:
    return Row(
        title="GPUs",
        panels=(
            Graph(
                title="Power of all GPUs, by node",
                queries=(
                    Query(expression="sum by (node) (max by (node, gpu) (DCGM_FI_DEV_POWER_USAGE))", legend="{{node}}"),
                ),
                unit="watt",
                is_stacked=True,
            ),
            Graph(
                title="Energy of the last 24 hours",
                queries=(Query(expression=ENERGY_24H, legend="all GPUs"),),
                unit="kwatth",
                explains="Counted by the GPUs themselves, without processors, disks and the losses of supplies.",
            ),
        ),
    )


def _make_machine_row() -> Row:
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


_CHOSEN = '{node=~"$node"}'
_CARD = "{{node}} gpu{{gpu}}"
_REASONS = {
    "power limit": SOFTWARE_POWER_CAP,
    "heat (driver)": SOFTWARE_THERMAL,
    "heat (hardware)": HARDWARE_THERMAL,
    "power brake": POWER_BRAKE,
}


def make_gpu_board(targets: Targets) -> Board:
    """Make the dashboard of the GPUs of a cluster."""
    has_limits = any(gpu.gpu.power_limit_w is not None for node in targets.gpu_nodes for gpu in list_nvidia_gpus(node))
    rows = (_load(), _make_heat_row(has_limits=has_limits), _make_error_row(), *_make_class_rows(targets))
    return Board(
        name="gpus",
        title="GPUs",
        rows=rows,
        variables=(Variable(name="node", label="Node", query="label_values(DCGM_FI_DEV_GPU_TEMP, node)"),),
    )


def _load() -> Row:
    used = f"DCGM_FI_DEV_FB_USED{_CHOSEN}"
    return Row(
        title="Load",
        panels=(
            _draw_lines("Utilisation", f"DCGM_FI_DEV_GPU_UTIL{_CHOSEN}", "percent", highest=100),
            _draw_lines("Memory in use", used, "mbytes"),
            _draw_lines(
                "Memory in use, share", f"{used} / ({used} + DCGM_FI_DEV_FB_FREE{_CHOSEN})", "percentunit", highest=1
            ),
            _draw_lines("Memory controller in use", f"DCGM_FI_DEV_MEM_COPY_UTIL{_CHOSEN}", "percent", highest=100),
        ),
    )


def _make_heat_row(*, has_limits: bool) -> Row:
    power = [
        _query_by_gpu(f"DCGM_FI_DEV_POWER_USAGE{_CHOSEN}"),
        _query_by_gpu(f"DCGM_FI_DEV_POWER_MGMT_LIMIT{_CHOSEN} {REPORTED}", " limit"),
    ]
    if has_limits:
        power.append(Query(expression=f"{POWER_LIMIT_EXPECTED}{_CHOSEN}", legend=f"{_CARD} cluster file"))
    temperature = (
        _query_by_gpu(f"DCGM_FI_DEV_GPU_TEMP{_CHOSEN}"),
        _query_by_gpu(f"DCGM_FI_DEV_SLOWDOWN_TEMP{_CHOSEN} > 0 {REPORTED}", " slows down"),
    )
    return Row(
        title="Heat and power",
        panels=(
            Graph(title="Temperature", queries=temperature, unit="celsius"),
            Graph(
                title="Power and its limit",
                queries=tuple(power),
                unit="watt",
                explains="The limit that the GPU has, and the one in the cluster file.",
            ),
        ),
    )


def _make_error_row() -> Row:
    reasons = tuple(
        Query(expression=f"{check_bit(mask)} and {CLOCK_REASONS}{_CHOSEN}", legend=f"{_CARD} {reason}")
        for reason, mask in _REASONS.items()
    )
    return Row(
        title="Clocks and errors",
        panels=(
            _draw_lines("Clock of the multiprocessors (MHz)", f"DCGM_FI_DEV_SM_CLOCK{_CHOSEN}", "none"),
            _draw_lines("Clock of the memory (MHz)", f"DCGM_FI_DEV_MEM_CLOCK{_CHOSEN}", "none"),
            Graph(
                title="Slowed down by",
                queries=reasons,
                highest=1,
                explains="1 while the reason holds. At a chosen power limit, `power limit` is as it should be.",
            ),
            Stat(
                title="Last XID",
                queries=(Query(expression=f"{XID}{_CHOSEN}", legend=_CARD),),
                explains="The last error that the driver reported of each GPU; 0 is none.",
                bad_from=1,
                unit="none",
            ),
        ),
    )


def _make_class_rows(targets: Targets) -> Iterable[Row]:
    """Make a row for each GPU model, in the order of the file, by the name that the driver gives it."""
    gpus = [gpu for node in targets.gpu_nodes for gpu in list_nvidia_gpus(node) if gpu.model is not None]
    for name, count in Counter(product_name(gpu.name) for gpu in gpus).items():
        yield Row(title=f"{name} ({count})", panels=_make_class_panels(f'{{modelName="{name}"}}'), columns=3)


def _make_class_panels(gpus: str) -> tuple[Stat, ...]:
    def make_stat(title: str, function: str, field: str, unit: str) -> Stat:
        by_gpu = f"max by (node, gpu) (DCGM_FI_DEV_{field}{gpus})"
        return Stat(title=title, queries=(Query(expression=f"{function}({by_gpu})"),), unit=unit, decimals=0)

    return (
        make_stat("Utilisation", "avg", "GPU_UTIL", "percent"),
        make_stat("Power", "sum", "POWER_USAGE", "watt"),
        make_stat("Hottest", "max", "GPU_TEMP", "celsius"),
    )


def _draw_lines(title: str, expression: str, unit: str, *, highest: float | None = None) -> Graph:
    return Graph(title=title, queries=(_query_by_gpu(expression),), unit=unit, highest=highest)


def _query_by_gpu(expression: str, suffix: str = "") -> Query:
    """Query a line for each GPU, though in Kubernetes it can have a series for each pod."""
    return Query(expression=f"max by (node, gpu) ({expression})", legend=f"{_CARD}{suffix}")
