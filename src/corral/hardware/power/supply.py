"""Which power supply a draw asks for, and whether the one that is there carries it.

Two rules, both over what the cards draw without limits. Sustained: at most 90 % of the rating. Transients: the peak of
a millisecond within the 145 % that ATX 3.x asks of every supply. A size is recommended when it passes both and is no
smaller than what the catalogue asks for the most demanding card alone, so a recommended size always judges as `ok`.
"""

from __future__ import annotations

from dataclasses import replace

from corral.figures import Figure, computed
from corral.hardware.power.draw import EXCURSION_CARRIED
from corral.hardware.power.values import SUGGESTION, SUPPLY, TRANSIENTS, Draw, Judgement, Verdict

STANDARD_SIZES_W = (450, 550, 650, 750, 850, 1000, 1200, 1500, 1600)
"""The steps in which ATX supplies are commonly sold: custom, not a norm. Larger ones need a line of 200 V or more."""
HIGHEST_SUSTAINED = 0.9
"""Share of the rating that a sustained load may take.

A tenth stays for what the sum does not know: the estimate of the rest of the machine, and cards that take more than
their nominal power (Igor's Lab measured 314 W on an RTX 5070 Ti of 300 W, http://www.igorscience.org/index-2063.html).
"""
ADVISED_SUSTAINED = 0.8
"""Over this share of the rating a power limit is worth its speed: quieter, cooler, and more in reserve."""
EXCURSION_CARRIED_16_PIN = 1.8
"""What ATX 3.x asks for 1 ms of a supply over 450 W with a 16-pin connector; of the others `EXCURSION_CARRIED`."""
ATX_3 = "Intel, ATX Version 3 design guide (336521), table 3-3"


def recommended(full: Draw, catalogue_psu: Figure | None) -> Figure | None:
    """Choose the smallest standard size that carries the draw and its peak; None when no standard size does."""
    rules = {
        f"{full.system.value:g} W / {_percent(HIGHEST_SUSTAINED)}": full.system.value / HIGHEST_SUSTAINED,
        f"{full.peak.value:g} W of peak / {_percent(EXCURSION_CARRIED)}": full.peak.value / EXCURSION_CARRIED,
    }
    if catalogue_psu:
        rules["what the catalogue suggests for one card"] = catalogue_psu.value
    size = next((size for size in STANDARD_SIZES_W if size >= max(rules.values())), None)
    if size is None:
        return None
    terms = ", ".join(f"{rule} = {least:.0f} W" for rule, least in rules.items())
    return computed(size, "W", f"the smallest standard size that is not under {terms}")


def judge(full: Draw, limited: Draw | None, psu: Figure | None, catalogue_psu: Figure | None) -> tuple[Judgement, ...]:
    """Say whether the supply carries the draw, sustained and in its peaks, and is what the catalogue suggests."""
    if psu is None:
        reason = "the cluster file does not state `psu.watts`"
        return (Judgement(about=SUPPLY, verdict=Verdict.UNKNOWN, what="its rating is not known", reason=reason),)
    return (_sustained(full, limited, psu), _transients(full, limited, psu), *_suggestion(psu, catalogue_psu))


def as_lower_bounds(judgements: tuple[Judgement, ...]) -> tuple[Judgement, ...]:
    """Take back every `ok` that was given while the power of a card is unknown; what is too much already stays so."""
    return tuple(
        replace(judgement, verdict=Verdict.UNKNOWN, what=f"{judgement.what}, without the cards of unknown power")
        if judgement.verdict is Verdict.OK
        else judgement
        for judgement in judgements
    )


def _sustained(full: Draw, limited: Draw | None, psu: Figure) -> Judgement:
    verdict = _sustained_verdict(full, psu)
    what = f"{full.system.value:g} W of {psu.value:g} W are {_share(full.system, psu)}"
    reason = f"at most {_percent(HIGHEST_SUSTAINED)} of the rating is advised; the rest is for what the sum leaves out"
    if limited is not None and verdict is not Verdict.OK:
        verdict, what = _with_limits(verdict, _sustained_verdict(limited, psu), what, _share(limited.system, psu))
    return Judgement(about=SUPPLY, verdict=verdict, what=what, reason=reason)


def _sustained_verdict(draw: Draw, psu: Figure) -> Verdict:
    if draw.system.value <= HIGHEST_SUSTAINED * psu.value:
        return Verdict.OK
    return Verdict.TIGHT if draw.system.value <= psu.value else Verdict.NOT_ENOUGH


def _transients(full: Draw, limited: Draw | None, psu: Figure) -> Judgement:
    verdict = _transient_verdict(full, psu)
    what = f"peaks of about a millisecond may reach {full.peak.value:g} W, {_share(full.peak, psu)} of {psu.value:g} W"
    if full.peak.value <= psu.value:
        reason = "within the rating of any supply"
    else:
        reason = (
            f"{ATX_3}: every ATX 3.x supply has to carry {_percent(EXCURSION_CARRIED)} for 1 ms, with a 16-pin "
            f"connector {_percent(EXCURSION_CARRIED_16_PIN)}; an older one promises nothing over its rating, and may "
            "cut out (C04)"
        )
    if limited is not None and verdict is not Verdict.OK:
        verdict, what = _with_limits(verdict, _transient_verdict(limited, psu), what, _share(limited.peak, psu))
    return Judgement(about=TRANSIENTS, verdict=verdict, what=what, reason=reason)


def _transient_verdict(draw: Draw, psu: Figure) -> Verdict:
    if draw.peak.value <= EXCURSION_CARRIED * psu.value:
        return Verdict.OK
    return Verdict.TIGHT if draw.peak.value <= EXCURSION_CARRIED_16_PIN * psu.value else Verdict.NOT_ENOUGH


def _suggestion(psu: Figure, catalogue_psu: Figure | None) -> tuple[Judgement, ...]:
    if catalogue_psu is None or psu.value >= catalogue_psu.value:
        return ()
    what = f"{psu.value:g} W are less than the {catalogue_psu.value:g} W that the catalogue suggests for one card"
    return (Judgement(about=SUGGESTION, verdict=Verdict.TIGHT, what=what, reason=catalogue_psu.source),)


def _with_limits(full: Verdict, limited: Verdict, what: str, share: str) -> tuple[Verdict, str]:
    """Soften a verdict that the limits mend; never to `ok`, for they are gone when the driver restarts (C01)."""
    if limited is Verdict.NOT_ENOUGH:
        return full, f"{what}; with the power limits of the file {share}"
    return Verdict.TIGHT, f"{what}; with the power limits of the file {share}, as long as they are set"


def _share(watts: Figure, psu: Figure) -> str:
    return _percent(watts.value / psu.value)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
