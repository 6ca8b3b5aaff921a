"""Advice on the power and the heat of a node, each piece an imperative with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from corral.figures import Figure, Origin
from corral.hardware.doubts import doubt_limit
from corral.hardware.power.limits import HOT_GPU_W, advise_limit, list_speed_losses
from corral.hardware.power.supply import ADVISED_SUSTAINED, HIGHEST_SUSTAINED, STANDARD_SIZES_W
from corral.hardware.power.supply import recommend as smallest_supply
from corral.hardware.power.values import (
    RAILS,
    SUGGESTION,
    SUPPLY,
    TRANSIENTS,
    WIRING,
    Draw,
    GpuPower,
    Judgement,
    Verdict,
)
from corral.units import format_list

_OF_SUPPLY = frozenset({SUPPLY, TRANSIENTS, SUGGESTION})
_NEAR = 1.05
"""A limit of the file that is so much over the advised one is near enough: another would change little."""


def advise(
    gpus: Sequence[GpuPower],
    *,
    full: Draw,
    limited: Draw | None,
    other: Figure,
    psu: Figure | None,
    recommended: Figure | None,
    judgements: Sequence[Judgement],
    is_desktop: bool,
) -> tuple[str, ...]:
    """List the advice, the most pressing first; `judgements` are those on the supply and its wires."""
    if not gpus:
        return ()
    draw = full if limited is None else limited
    lowered = _choose_limits(gpus, draw, psu) if is_desktop else {}
    return (
        *(_advise_supply(full, draw, other, psu, recommended, judgements) if is_desktop else ()),
        *_advise_limits(gpus, lowered, draw, psu),
        *_advise_persistence([gpu for gpu in gpus if gpu.index not in lowered]),
        *(() if psu is None else _advise_clocks(gpus, judgements)),
        *_advise_air(gpus, full),
        *_ask_open_questions(psu, other),
    )


def _advise_supply(
    full: Draw,
    draw: Draw,
    other: Figure,
    psu: Figure | None,
    recommended: Figure | None,
    judgements: Sequence[Judgement],
) -> Iterator[str]:
    verdicts = {judgement.verdict for judgement in judgements if judgement.about in _OF_SUPPLY}
    if psu is None or not verdicts & {Verdict.NOT_ENOUGH, Verdict.TIGHT}:
        return
    if recommended is None and smallest_supply(full, None) is None:
        yield f"divide the GPUs over two supplies or machines: no supply up to {STANDARD_SIZES_W[-1]} W carries them"
    elif recommended is not None and recommended.value > psu.value:
        yield f"fit a power supply of {recommended.value:g} W or more (it has {psu.value:g} W)"
    left = HIGHEST_SUSTAINED * psu.value - other.value
    if full.system.value <= psu.value or 0 < draw.gpus.value <= left:
        return
    if left > 0:
        yield f"until then hold the GPUs to {left:.0f} W together with power limits if they go so low, or take one out"
    else:
        yield "until then take the GPUs out: the rest of the machine fills the supply"


def _choose_limits(gpus: Sequence[GpuPower], draw: Draw, psu: Figure | None) -> dict[int, int]:
    """Choose the limits that are advised, by the index of the GPU; a limit of the file that is near stays."""
    loaded = _is_loaded(draw, psu)
    hot = _find_hot(gpus)
    if not loaded and len(hot) < 2:
        return {}
    chosen: dict[int, int] = {}
    for gpu in gpus if loaded else hot:
        if gpu.tgp is None or gpu.is_module:
            continue
        advised = advise_limit(gpu.tgp.value)
        if gpu.limit is None or gpu.limit.value > _NEAR * advised:
            chosen[gpu.index] = advised
    return chosen


def _is_loaded(draw: Draw, psu: Figure | None) -> bool:
    return psu is not None and ADVISED_SUSTAINED * psu.value < draw.system.value <= psu.value


def _write_step(gpu: GpuPower, limit: int) -> str:
    """Write how a GPU gets a limit; where the hour decides it, a limit that is set by hand ends with that hour."""
    instead = "" if gpu.limit is None else f" instead of the file's {gpu.limit.value:g} W"
    if gpu.hourly_limits:
        return f"`powerLimit: {limit}` in the file{instead}; the timer of `powerHours` sets it outside of those hours"
    command = gpu.limit_command(limit) or "with its driver's tool"
    return command + (f"{instead}: `powerLimit: {limit}`" if instead else "")


def _advise_limits(
    gpus: Sequence[GpuPower], lowered: Mapping[int, int], draw: Draw, psu: Figure | None
) -> Iterator[str]:
    """Advise one limit for each GPU: where the file has another, with the change to the file."""
    why = f"the load is over {100 * ADVISED_SUSTAINED:.0f} % of the supply"
    if not _is_loaded(draw, psu):
        why = "hot GPUs share the case"
    steps: list[str] = []
    prices: dict[str, list[str]] = {}
    for gpu in gpus:
        if gpu.index not in lowered:
            continue
        limit = lowered[gpu.index]
        steps.append(f"GPU {gpu.index} to {limit} W ({_write_step(gpu, limit)})")
        prices.setdefault(_describe_price(gpu, limit), []).append(f"GPU {gpu.index}")
    if steps:
        costs = ", ".join(f"{price} for {format_list(names)}" for price, names in prices.items())
        yield f"limit {format_list(steps)}, because {why}; the loss in speed is {costs}"


def _advise_clocks(gpus: Sequence[GpuPower], judgements: Sequence[Judgement]) -> Iterator[str]:
    """Advise clocks where peaks are in question: a limit holds the mean, a clock also the millisecond."""
    in_question = any(
        judgement.about in (TRANSIENTS, RAILS, WIRING) and judgement.verdict is not Verdict.OK
        for judgement in judgements
    )
    commands = [command for gpu in gpus if (command := gpu.clock_command) is not None]
    if in_question and len(gpus) > 1 and commands:
        yield f"if it cuts out, hold the clocks, for a limit lowers no peak: run {format_list(commands)}"


def _describe_price(gpu: GpuPower, limit_w: float) -> str:
    losses = list_speed_losses(gpu.model or "", limit_w)
    if not losses:
        return "unknown"
    works = [f"{loss.value:g} % ({loss.source.partition(', measured')[0]})" for loss in losses]
    return f"at most {format_list(works)}"


def _advise_persistence(gpus: Sequence[GpuPower]) -> Iterator[str]:
    """Advise to set limits at every start; where the hour decides them, the timer of `powerHours` does."""
    limits = [
        (gpu.limit_command(gpu.limit.value), gpu.index, gpu.limit.value)
        for gpu in gpus
        if gpu.limit and not gpu.hourly_limits and not (gpu.tgp and doubt_limit(gpu.limit.value, gpu.tgp.value))
    ]
    commands = [command for command, _, _ in limits if command]
    others = [f"{watts:g} W on GPU {index}" for command, index, watts in limits if not command]
    steps = [f"run {format_list(commands)}"] if commands else []
    steps += [f"set {format_list(others)} with its driver's tool"] if others else []
    if steps:
        yield f"{', '.join(steps)} at every start: a limit is lost when the machine or the driver restarts (C01)"


def _advise_air(gpus: Sequence[GpuPower], full: Draw) -> Iterator[str]:
    hot = _find_hot(gpus)
    if len(hot) > 1:
        names = format_list([f"GPU {gpu.index}" for gpu in hot])
        yield (
            f"leave a slot free between {names} and watch their temperatures under load at first: the case has to move "
            f"about {full.system.value:g} W of heat"
        )


def _ask_open_questions(psu: Figure | None, other: Figure) -> Iterator[str]:
    if psu is None:
        yield "write the supply's rating into the cluster file (`psu: {watts: ...}`)"
    if other.origin is Origin.ASSUMED:
        yield "write what the machine draws without its GPUs into the file (`psu: {otherWatts: ...}`)"


def _find_hot(gpus: Sequence[GpuPower]) -> list[GpuPower]:
    return [gpu for gpu in gpus if gpu.tgp and gpu.tgp.value >= HOT_GPU_W]
