"""Recording rules: what alerts and dashboards ask for again and again, and what the cluster file expects.

Names begin with `corral:`, which no metric of an exporter does. Expectations are rules as well, so that an alert
compares two series, and a GPU that is not there at all is missed.

The rules rest on the fields of NVIDIA's DCGM exporter: its own defaults, and those that alerts need in addition. Only
`DCGM_FI_DEV_*`: GeForce GPUs have no profiling fields (pitfall C05). The exporter's default file
(NVIDIA/dcgm-exporter, etc/default-counters.csv) has neither the power limit nor why a GPU lowers its clocks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from corral.cluster.values import Node, QueueSettings
from corral.rendering.documents import write_header
from corral.rendering.gpus import NvidiaGpu, list_limited_gpus
from corral.rendering.installation import Installation
from corral.rendering.prometheus.jobs import DCGM, NODE
from corral.rendering.prometheus.targets import Targets, list_certain_gpus

Rule = dict[str, Any]  # Prometheus' own shape of a rule

NODE_UP = "corral:node_up"
GPUS_EXPECTED = "corral:node_gpus:expected"
GPUS_SEEN = "corral:node_gpus:seen"
POWER_LIMIT_EXPECTED = "corral:gpu_power_limit_watts:expected"
XID = "corral:gpu_xid"
CLOCK_REASONS = "corral:gpu_clock_reasons"
QUEUED = "corral:queue_tasks:queued"
RUNNING = "corral:queue_tasks:running"
SLOTS_FREE = "corral:queue_slots:free"
GPU_SLOTS_FREE = "corral:queue_gpu_slots:free"
SLOTS = "corral:queue_slots:count"
SLOTS_BUSY = "corral:queue_slots:busy"
ENDED = "corral:engine_tasks_ended:increase1h"
FAILED = "corral:engine_tasks_failed:increase1h"
CLOCK_METRICS = ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS")
"""One field, renamed by DCGM 3.3; exporters before that know the old name only."""
REPORTED = "< 1e9"
"""DCGM marks a field that a GPU does not report with a number that is larger (dcgm_fields.h, DCGM_INT32_BLANK and the
others, from 2,147,483,632 on), and some versions of the exporter pass it on."""
_CPU_SLOTS = ".+/cpu[0-9]*"


def list_rules(targets: Targets) -> list[Rule]:
    """List every recording rule, those that others use first."""
    rules = [_make_node_rule(targets)]
    if targets.gpu_nodes:
        rules += _list_gpu_rules(targets.gpu_nodes)
    for queue in targets.installation.cluster.queues.values():
        rules += _list_slot_rules(queue)
    return [*rules, *_TASKS]


def match_devices(queue: QueueSettings) -> str:
    """Write a regular expression for the devices of a queue's pool."""
    return ".+" if queue.devices is None else "|".join(_match_device(selector) for selector in queue.devices)


def select_gpu(node: Node, nvidia_gpu: NvidiaGpu) -> str:
    """Select a GPU in the exporter's series: its UUID where it is known, since an index can move."""
    which = f"UUID={_quote(nvidia_gpu.gpu.uuid)}" if nvidia_gpu.gpu.uuid else f'gpu="{nvidia_gpu.gpu.index}"'
    return f"{{node={_quote(node.name)},{which}}}"


def _make_node_rule(targets: Targets) -> Rule:
    """Record which nodes are up: Kubernetes knows; a machine without it is up when its exporter answers."""
    exporter = f'max by (node) (up{{job="{NODE}"}})'
    ready = 'max by (node) (kube_node_status_condition{condition="Ready",status="true"})'
    return _record(NODE_UP, f"{ready} or {exporter}" if targets.in_kubernetes else exporter)


def _list_gpu_rules(nodes: Iterable[Node]) -> Iterator[Rule]:
    limits = [(node, nvidia_gpu) for node in nodes for nvidia_gpu in list_limited_gpus(node)]
    for node in filter(list_certain_gpus, nodes):
        yield _record(GPUS_EXPECTED, f"vector({len(list_certain_gpus(node))})", node=node.name)
    none = f'0 * max by (node) (up{{job="{DCGM}"}} == 1)'
    seen = "count by (node) (count by (node, gpu) (DCGM_FI_DEV_GPU_TEMP))"
    yield _record(GPUS_SEEN, f"{seen} or on (node) {none}")
    if limits:
        yield _record(POWER_LIMIT_EXPECTED, " or ".join(_find_limit(node, nvidia_gpu) for node, nvidia_gpu in limits))
    yield _record(XID, f"max by (node, gpu) (DCGM_FI_DEV_XID_ERRORS {REPORTED})")
    yield _record(CLOCK_REASONS, " or ".join(f"max by (node, gpu) ({name} {REPORTED})" for name in CLOCK_METRICS))


def _find_limit(node: Node, nvidia_gpu: NvidiaGpu) -> str:
    """The limit of a GPU with the labels of its series; nothing while the GPU is not there.

    Only the server knows which hours it is in the zone of the cluster file; while it does not say, the limit is NaN,
    which is off by nothing.
    """
    there = f"max by (node, gpu) (DCGM_FI_DEV_GPU_TEMP{select_gpu(node, nvidia_gpu)})"
    gpu = nvidia_gpu.gpu
    if not gpu.power_windows:
        return f"0 * {there} + {gpu.power_limit_w}"
    now = f"corral_gpu_power_limit_watts{{node={_quote(node.name)},gpu={_quote(str(gpu.index))}}}"
    return f"0 * {there} + scalar(max({now}))"


def _list_slot_rules(queue: QueueSettings) -> Iterator[Rule]:
    chosen = f'device=~"{match_devices(queue)}"'
    every = f"max by (device) (corral_slot_busy{{{chosen}}})"
    gpus = f'max by (device) (corral_slot_busy{{{chosen},device!~"{_CPU_SLOTS}"}})'
    yield _record(SLOTS, f"count({every})", queue=queue.name)
    yield _record(SLOTS_BUSY, f"sum({every})", queue=queue.name)
    yield _record(SLOTS_FREE, f"count({every} == 0)", queue=queue.name)
    yield _record(GPU_SLOTS_FREE, f"count({gpus} == 0)", queue=queue.name)


def _match_device(selector: str) -> str:
    """Match a pool's selector: a node with all that is on it, its processors, or one GPU."""
    node, _, slot = selector.partition("/")
    node = _escape(node)
    if not slot:
        return f"{node}(/.+)?"
    return f"{node}/cpu[0-9]*" if slot == "cpu" else f"{node}/{slot}"


def _escape(name: str) -> str:
    """Escape a name for a regular expression inside of PromQL's quotes, which double a backslash."""
    return re.escape(name).replace("\\-", "-").replace("\\", "\\\\")


def _quote(text: str) -> str:
    """Write a string of PromQL, whose escapes include JSON's."""
    return json.dumps(text, ensure_ascii=False)


def _record(name: str, expression: str, **labels: str) -> Rule:
    return {"record": name, "expr": expression} | ({"labels": labels} if labels else {})


_TASKS: tuple[Rule, ...] = (
    # Every server reports the same of the database, so the largest counts, not the sum.
    _record(QUEUED, 'max by (queue) (corral_tasks_open{state="queued"})'),
    _record(RUNNING, 'sum by (queue) (max by (queue, state) (corral_tasks_open{state=~"leased|running"}))'),
    # Endings are counted by the leader alone, so here the sum.
    _record(ENDED, "sum by (engine) (increase(corral_tasks_ended_total[1h]))"),
    _record(FAILED, 'sum by (engine) (increase(corral_tasks_ended_total{outcome="failed"}[1h]))'),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A line of the exporter's file."""

    field: str
    kind: str
    """`gauge` or `counter`."""
    help: str
    is_default: bool
    """Whether the exporter has it without being asked."""


def _default(field: str, kind: str, text: str) -> Counter:
    return Counter(field=field, kind=kind, help=text, is_default=True)


def _ask_for(field: str, kind: str, text: str) -> Counter:
    return Counter(field=field, kind=kind, help=text, is_default=False)


COUNTERS = (
    _default("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %)."),
    _default("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %)."),
    _default("DCGM_FI_DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB)."),
    _default("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB)."),
    _default("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C)."),
    _default("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W)."),
    _default("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy consumption since boot (in mJ)."),
    _default("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz)."),
    _default("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz)."),
    _default("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered."),
    _default("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gauge", "Whether remapping of rows has failed"),
    _ask_for("DCGM_FI_DEV_POWER_MGMT_LIMIT", "gauge", "Power limit (in W)."),
    _ask_for("DCGM_FI_DEV_SLOWDOWN_TEMP", "gauge", "Temperature at which the GPU slows down (in C)."),
    _ask_for("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "gauge", "Why clocks are lower than they could be (a bit mask)."),
    _ask_for("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "counter", "Total number of double-bit volatile ECC errors."),
)


def render_counters(installation: Installation) -> str:
    """The exporter's file of counters."""
    notes = (
        "For NVIDIA's DCGM exporter: dcgm-exporter --collectors dcgm-counters.csv",
        "A field that a GPU does not have is left out by the exporter, and its alert stays silent.",
    )
    lines = ["# DCGM FIELD, Prometheus metric type, help message"]
    for title, is_default in (
        ("Fields of the exporter's own list", True),
        ("Fields that it has to be asked for", False),
    ):
        lines += ["", f"# {title}"]
        lines += [
            f"{counter.field}, {counter.kind}, {counter.help}"
            for counter in COUNTERS
            if counter.is_default is is_default
        ]
    return write_header(installation, *notes) + "\n".join(lines) + "\n"
