"""The fields that NVIDIA's DCGM exporter is asked for: its own defaults, and those that alerts need besides.

Only `DCGM_FI_DEV_*`: GeForce cards have no profiling fields (pitfall C05). The exporter's default file
(NVIDIA/dcgm-exporter, etc/default-counters.csv) has neither the power limit nor why a card lowers its clocks.
"""

from __future__ import annotations

from dataclasses import dataclass

from corral.rendering.documents import header
from corral.rendering.installation import Installation


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


def _asked(field: str, kind: str, text: str) -> Counter:
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
    _asked("DCGM_FI_DEV_POWER_MGMT_LIMIT", "gauge", "Power limit (in W)."),
    _asked("DCGM_FI_DEV_SLOWDOWN_TEMP", "gauge", "Temperature at which the card slows down (in C)."),
    _asked("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "gauge", "Why clocks are lower than they could be (a bit mask)."),
    _asked("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "counter", "Total number of double-bit volatile ECC errors."),
)


def file(installation: Installation) -> str:
    """The exporter's file of counters."""
    notes = (
        "For NVIDIA's DCGM exporter: dcgm-exporter --collectors dcgm-counters.csv",
        "A field that a card does not have is left out by the exporter, and its alert stays silent.",
    )
    lines = ["# DCGM FIELD, Prometheus metric type, help message"]
    for title, is_default in (
        ("Fields of the exporter's own list", True),
        ("Fields that it has to be asked for", False),
    ):
        lines += ["", f"# {title}"]
        lines += [f"{one.field}, {one.kind}, {one.help}" for one in COUNTERS if one.is_default is is_default]
    return header(installation, *notes) + "\n".join(lines) + "\n"
