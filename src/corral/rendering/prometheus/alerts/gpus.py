"""Alerts on GPUs, from NVIDIA's DCGM exporter.

Bits of the reasons for lower clocks
are NVML's (nvml.h, nvmlClocksEventReasons).
"""

from __future__ import annotations

from corral.hardware.xids import FELL_OFF_THE_BUS, XIDS_OF_PROGRAMS
from corral.rendering.gpus import POWER_LIMIT_UNIT, list_limited_gpus
from corral.rendering.prometheus.alerts.values import Alert, Severity
from corral.rendering.prometheus.jobs import DCGM
from corral.rendering.prometheus.recording import (
    CLOCK_REASONS,
    GPUS_EXPECTED,
    GPUS_SEEN,
    NODE_UP,
    POWER_LIMIT_EXPECTED,
    REPORTED,
    XID,
)
from corral.rendering.prometheus.targets import Targets

NEAR_SLOWDOWN_C = 5
"""Degrees below the temperature at which the GPU slows itself down: time to look before it does."""
HOT_C = 85
"""For GPUs that do not report that temperature: some degrees below the 88 to 93 °C that NVIDIA's specifications give
as the highest for GeForce GPUs of the last four generations."""
LIMIT_TOLERANCE_W = 1
"""Limits are set in whole watts, and reported with decimals."""
SOFTWARE_POWER_CAP = 0x4
SOFTWARE_THERMAL = 0x20
HARDWARE_THERMAL = 0x40
POWER_BRAKE = 0x80
_GPU = "GPU {{ $labels.gpu }} of {{ $labels.node }}"
_TEMPERATURE = "max by (node, gpu) (DCGM_FI_DEV_GPU_TEMP)"
_SLOWDOWN = f"max by (node, gpu) (DCGM_FI_DEV_SLOWDOWN_TEMP > 0 {REPORTED})"
_LIMIT = f"max by (node, gpu) (DCGM_FI_DEV_POWER_MGMT_LIMIT {REPORTED})"


def list_alerts(targets: Targets) -> tuple[Alert, ...]:
    """List the alerts on every GPU; the limit is compared where the cluster file has one."""
    has_limits = any(list_limited_gpus(node) for node in targets.gpu_nodes)
    return (
        *_PRESENCE,
        *_ERRORS,
        *_HEAT,
        _make_power_alert(has_limits=has_limits),
        *((_LIMIT_CHANGED,) if has_limits else ()),
    )


def check_bit(mask: int) -> str:
    """Write PromQL for the GPUs whose reasons have a bit: it has no bitwise `and`, but division and remainder."""
    return f"floor({CLOCK_REASONS} / {mask}) % 2 == 1"


def _make_power_alert(*, has_limits: bool) -> Alert:
    chosen = f" unless on (node, gpu) {POWER_LIMIT_EXPECTED}" if has_limits else ""
    return Alert(
        name="GpuPowerCapped",
        expression=f"({check_bit(SOFTWARE_POWER_CAP)}){chosen}",
        lasting="30m",
        severity=Severity.INFO,
        summary=f"{_GPU} has been held by its power limit for half an hour",
        description=(
            "Under full load that is ordinary, and costs clocks. The cluster file does not set this limit: see what a "
            "lower one costs and saves with `corral power`, and write it as `powerLimit` of the GPU."
        ),
        reason=(
            "Bit 0x4 of the reasons for lower clocks. GPUs whose `powerLimit` is in the cluster file are left out, "
            "since their owner wants it so; half an hour is longer than most tasks."
        ),
    )


_PRESENCE = (
    Alert(
        name="GpuLost",
        expression=f"({GPUS_SEEN} < on (node) {GPUS_EXPECTED}) and on (node) ({NODE_UP} == 1)",
        lasting="2m",
        severity=Severity.CRITICAL,
        summary="{{ $labels.node }} is up and has only {{ $value }} of its GPUs",
        description=(
            "A GPU is gone from the driver. On the node: `nvidia-smi -L` and `journalctl -k | grep -i xid`; "
            "`corral doctor` prints what Corral sees. A GPU that fell off the bus comes back with a cold start; "
            "when it falls again, look at its riser, its cables and the power supply."
        ),
        reason="Counts the GPUs that DCGM sees against those of the cluster file, while the node itself is up.",
    ),
    Alert(
        name="GpuExporterDown",
        expression=(
            f'({GPUS_EXPECTED} unless on (node) max by (node) (up{{job="{DCGM}"}} == 1)) and on (node) ({NODE_UP} == 1)'
        ),
        lasting="5m",
        severity=Severity.WARNING,
        summary="GPU exporter on {{ $labels.node }} is down",
        description=(
            "The node is up and its DCGM exporter does not answer, so no other alert on its GPUs can fire. A lost "
            "GPU can be the cause: `nvidia-smi -L` there, then restart the exporter."
        ),
        reason="Without the exporter every other alert on GPUs is silent; five minutes are a restart with its image.",
    ),
)
_ERRORS = (
    Alert(
        name="GpuFellOffTheBus",
        expression=f"{XID} == {FELL_OFF_THE_BUS}",
        lasting="1m",
        severity=Severity.CRITICAL,
        summary=f"{_GPU} fell off the bus (XID 79)",
        description=(
            "Nothing runs on it until the machine was powered off and on; on Kubernetes it can stop every GPU pod of "
            "the node. `corral slots pause {{ $labels.node }}/gpu{{ $labels.gpu }}`, drain the node, restart it. When "
            "it happens again: power cables, power supply (`corral power`), riser, heat."
        ),
        reason="XID 79 is the driver losing the GPU on the PCIe bus.",
    ),
    Alert(
        name="GpuXidError",
        expression=" and ".join(f"{XID} != {code}" for code in (0, FELL_OFF_THE_BUS, *XIDS_OF_PROGRAMS)),
        lasting="1m",
        severity=Severity.WARNING,
        summary=f"{_GPU} reported XID {{{{ $value }}}}",
        description=(
            "The driver or the GPU had an error that is not a program's. `journalctl -k | grep -i xid` on the node "
            "shows when, and in which process; `corral slots pause {{ $labels.node }}/gpu{{ $labels.gpu }}` keeps "
            "tasks away. The number stays until the exporter restarts: restart it once the cause is found."
        ),
        reason=(
            f"Every XID but {', '.join(map(str, XIDS_OF_PROGRAMS))}, which are a program's and after which the GPU "
            "works on (the list of NVIDIA's device plugin), and 79, which has its own alert. DCGM shows the last one."
        ),
    ),
    Alert(
        name="GpuProgramError",
        expression=(
            f"({' or '.join(f'{XID} == {code}' for code in XIDS_OF_PROGRAMS)}) "
            "and on (node, gpu) max by (node, gpu) (changes(DCGM_FI_DEV_XID_ERRORS[15m])) > 0"
        ),
        lasting="1m",
        severity=Severity.INFO,
        summary=f"a program on {_GPU} failed with XID {{{{ $value }}}}",
        description=(
            "The GPU works on; the task that ran there has failed or will be tried again. `corral tasks list --state "
            "failed` and `corral tasks logs ID` list them; a task that always ends so has a bug or too little memory."
        ),
        reason="Reported when it is new (within 15 minutes), since DCGM shows the last XID for ever.",
    ),
    Alert(
        name="GpuMemoryErrors",
        expression=(
            "max by (node, gpu) (increase(DCGM_FI_DEV_ECC_DBE_VOL_TOTAL[1h])) > 0 "
            "or max by (node, gpu) (DCGM_FI_DEV_ROW_REMAP_FAILURE) == 1"
        ),
        lasting="1m",
        severity=Severity.CRITICAL,
        summary=f"{_GPU} has memory errors that it cannot correct",
        description=(
            "Results from it can be wrong. `corral slots drain {{ $labels.node }}/gpu{{ $labels.gpu }}`, then "
            "`nvidia-smi -q -d ECC,ROW_REMAPPER` on the node; a GPU that shows them again is a case for its maker."
        ),
        reason="Double-bit errors of the last hour, or rows that could not be replaced. Silent on GPUs without ECC.",
    ),
)
_HEAT = (
    Alert(
        name="GpuHot",
        expression=(
            f"{_TEMPERATURE} >= on (node, gpu) {_SLOWDOWN} - {NEAR_SLOWDOWN_C} "
            f"or ({_TEMPERATURE} >= {HOT_C} unless on (node, gpu) {_SLOWDOWN})"
        ),
        lasting="5m",
        severity=Severity.WARNING,
        summary=f"{_GPU} is at {{{{ $value }}}} °C",
        description=(
            "It is about to slow down. Look at fans, dust and the GPU above it; `corral power` prints what a lower "
            "limit costs in speed."
        ),
        reason=(
            f"{NEAR_SLOWDOWN_C} degrees below the temperature at which the GPU reports that it slows down; {HOT_C} °C "
            "for GPUs that do not report it (NVIDIA's specifications: 88 to 93 °C at most). Five minutes, since a load "
            "that starts can overshoot."
        ),
    ),
    Alert(
        name="GpuThermalSlowdown",
        expression=f"{check_bit(SOFTWARE_THERMAL)} or {check_bit(HARDWARE_THERMAL)}",
        lasting="5m",
        severity=Severity.WARNING,
        summary=f"{_GPU} is slowed down by heat",
        description=(
            "Tasks take longer than forecast. Look at fans, dust and spacing; lower `powerLimit` of the GPU (`corral "
            "power` shows the cost), or `corral slots pause {{ $labels.node }}/gpu{{ $labels.gpu }}` until it is cool."
        ),
        reason="Bits 0x20 (driver) and 0x40 (hardware) of the reasons for lower clocks.",
    ),
    Alert(
        name="GpuPowerBrake",
        expression=check_bit(POWER_BRAKE),
        lasting="1m",
        severity=Severity.CRITICAL,
        summary=f"{_GPU} is held by the power brake",
        description=(
            "The power supply or the board signals that it cannot carry the load; a hard cut comes next. Lower the "
            "limits now (`nvidia-smi -pl`), then `corral power` for what the supply of {{ $labels.node }} can carry."
        ),
        reason="Bit 0x80 of the reasons for lower clocks: an external signal that halves the clocks.",
    ),
)
_LIMIT_CHANGED = Alert(
    name="GpuPowerLimitNotAsWritten",
    expression=f"abs({_LIMIT} - on (node, gpu) {POWER_LIMIT_EXPECTED}) > {LIMIT_TOLERANCE_W}",
    lasting="5m",
    severity=Severity.WARNING,
    summary=f"the power limit of {_GPU} is {{{{ $value }}}} W off what the cluster file says",
    description=(
        f"A limit is lost when the machine or the driver restarts. `systemctl status {POWER_LIMIT_UNIT}` on the node; "
        "`corral render --only systemd,nixos` writes the unit that sets it."
    ),
    reason="Pitfall C01: `nvidia-smi -pl` does not last. One watt of difference is rounding.",
)
