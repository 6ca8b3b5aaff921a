"""Dashboards of the machines: the cluster at a glance, and its GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from corral.rendering.gpus import nvidia_cards, product_name
from corral.rendering.grafana.panels import Board, Graph, Query, Row, Stat, Variable
from corral.rendering.prometheus.alerts.gpus import (
    HARDWARE_THERMAL,
    POWER_BRAKE,
    SOFTWARE_POWER_CAP,
    SOFTWARE_THERMAL,
    bit,
)
from corral.rendering.prometheus.recording import (
    CLOCK_REASONS,
    GPUS_EXPECTED,
    GPUS_SEEN,
    NODE_UP,
    POWER_LIMIT_EXPECTED,
    QUEUED,
    RUNNING,
    TOLD,
    XID,
)
from corral.rendering.prometheus.targets import Sight

_MILLIJOULES_OF_KWH = 1000 * 3_600_000
_REAL_DISKS = 'fstype!~"tmpfs|ramfs|overlay|squashfs|fuse.*|nsfs"'
ENERGY_24H = f"sum(max by (node, gpu) (increase(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION[24h]))) / {_MILLIJOULES_OF_KWH}"
"""Kilowatt-hours of all cards in a day; DCGM counts millijoules."""


def make_cluster_board(sight: Sight) -> Board:
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


_CHOSEN = '{node=~"$node"}'
_CARD = "{{node}} gpu{{gpu}}"
_REASONS = {
    "power limit": SOFTWARE_POWER_CAP,
    "heat (driver)": SOFTWARE_THERMAL,
    "heat (hardware)": HARDWARE_THERMAL,
    "power brake": POWER_BRAKE,
}


def make_gpu_board(sight: Sight) -> Board:
    """The cards of a cluster."""
    has_limits = any(card.gpu.power_limit_w is not None for node in sight.gpu_nodes for card in nvidia_cards(node))
    rows = (_load(), _heat_and_power(has_limits=has_limits), _clocks_and_errors(), *_classes(sight))
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
            _lines("Utilisation", f"DCGM_FI_DEV_GPU_UTIL{_CHOSEN}", "percent", highest=100),
            _lines("Memory in use", used, "mbytes"),
            _lines(
                "Memory in use, share", f"{used} / ({used} + DCGM_FI_DEV_FB_FREE{_CHOSEN})", "percentunit", highest=1
            ),
            _lines("Memory controller in use", f"DCGM_FI_DEV_MEM_COPY_UTIL{_CHOSEN}", "percent", highest=100),
        ),
    )


def _heat_and_power(*, has_limits: bool) -> Row:
    power = [
        _by_card(f"DCGM_FI_DEV_POWER_USAGE{_CHOSEN}"),
        _by_card(f"DCGM_FI_DEV_POWER_MGMT_LIMIT{_CHOSEN} {TOLD}", " limit"),
    ]
    if has_limits:
        power.append(Query(expression=f"{POWER_LIMIT_EXPECTED}{_CHOSEN}", legend=f"{_CARD} cluster file"))
    temperature = (
        _by_card(f"DCGM_FI_DEV_GPU_TEMP{_CHOSEN}"),
        _by_card(f"DCGM_FI_DEV_SLOWDOWN_TEMP{_CHOSEN} > 0 {TOLD}", " slows down"),
    )
    return Row(
        title="Heat and power",
        panels=(
            Graph(title="Temperature", queries=temperature, unit="celsius"),
            Graph(
                title="Power beside its limit",
                queries=tuple(power),
                unit="watt",
                explains="The limit that the card has, and the one that the cluster file gives it.",
            ),
        ),
    )


def _clocks_and_errors() -> Row:
    reasons = tuple(
        Query(expression=f"{bit(mask)} and {CLOCK_REASONS}{_CHOSEN}", legend=f"{_CARD} {reason}")
        for reason, mask in _REASONS.items()
    )
    return Row(
        title="Clocks and errors",
        panels=(
            _lines("Clock of the multiprocessors (MHz)", f"DCGM_FI_DEV_SM_CLOCK{_CHOSEN}", "none"),
            _lines("Clock of the memory (MHz)", f"DCGM_FI_DEV_MEM_CLOCK{_CHOSEN}", "none"),
            Graph(
                title="Slowed down by",
                queries=reasons,
                highest=1,
                explains="1 while the reason holds. At a chosen power limit, `power limit` is as it should be.",
            ),
            Stat(
                title="Last XID",
                queries=(Query(expression=f"{XID}{_CHOSEN}", legend=_CARD),),
                explains="The last error that the driver reported of each card; 0 is none.",
                bad_from=1,
                unit="none",
            ),
        ),
    )


def _classes(sight: Sight) -> Iterable[Row]:
    """A row for each model of card, in the order of the file, by the name that the driver gives it."""
    cards = [card for node in sight.gpu_nodes for card in nvidia_cards(node) if card.model is not None]
    for name, count in Counter(product_name(card.name) for card in cards).items():
        yield Row(title=f"{name} ({count})", panels=_class_panels(f'{{modelName="{name}"}}'), columns=3)


def _class_panels(cards: str) -> tuple[Stat, ...]:
    def one(title: str, function: str, field: str, unit: str) -> Stat:
        each = f"max by (node, gpu) (DCGM_FI_DEV_{field}{cards})"
        return Stat(title=title, queries=(Query(expression=f"{function}({each})"),), unit=unit, decimals=0)

    return (
        one("Utilisation", "avg", "GPU_UTIL", "percent"),
        one("Power", "sum", "POWER_USAGE", "watt"),
        one("Hottest", "max", "GPU_TEMP", "celsius"),
    )


def _lines(title: str, expression: str, unit: str, *, highest: float | None = None) -> Graph:
    return Graph(title=title, queries=(_by_card(expression),), unit=unit, highest=highest)


def _by_card(expression: str, suffix: str = "") -> Query:
    """A line for each card, though in Kubernetes it may have a series for each pod."""
    return Query(expression=f"max by (node, gpu) ({expression})", legend=f"{_CARD}{suffix}")
