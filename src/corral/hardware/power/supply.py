"""Which power supply a draw asks for, and whether the one that is there carries it."""

from __future__ import annotations

from corral.figures import Figure, computed
from corral.hardware.power.values import Draw, Judgement, Verdict

STANDARD_SIZES_W = (450, 550, 650, 750, 850, 1000, 1200, 1500, 1600, 2000)
HIGHEST_SUSTAINED = 0.9
EXCURSION_CARRIED = 1.45


def recommended(full: Draw, catalogue_psu: Figure | None) -> Figure | None:
    """Choose the smallest standard size that carries the draw, its excursions, and what the catalogue asks for."""
    least = max(
        full.system.value / HIGHEST_SUSTAINED,
        full.peak.value / EXCURSION_CARRIED,
        catalogue_psu.value if catalogue_psu else 0,
    )
    size = next((size for size in STANDARD_SIZES_W if size >= least), None)
    if size is None:
        return None
    return computed(size, "W", f"the next standard size over {least:.0f} W")


def judge(full: Draw, limited: Draw | None, psu: Figure | None) -> tuple[Judgement, ...]:
    """Say whether the supply carries the draw, sustained and in excursions."""
    if psu is None:
        unknown = Judgement(
            about="power supply",
            verdict=Verdict.UNKNOWN,
            what="the file does not state the power supply",
            reason="psu.watts is left open",
        )
        return (unknown,)
    share = full.system.value / psu.value
    verdict = Verdict.OK if share <= 0.8 else Verdict.TIGHT if share <= 1 else Verdict.NOT_ENOUGH
    what = f"{full.system.value:g} W of {psu.value:g} W are {share:.0%}"
    return (Judgement(about="power supply", verdict=verdict, what=what, reason="80 %"),)
