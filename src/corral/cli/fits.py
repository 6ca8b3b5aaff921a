"""Prints what fits, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.cli.figure_text import shorten_names
from corral.figures import Origin
from corral.hardware.fit.splitting import SPILLS, Way
from corral.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from corral.figures import Figure
    from corral.hardware.fit.judging import BusCost, Fit
    from corral.hardware.fit.shape import ModelShape
    from corral.hardware.fit.splitting import Verdict
    from corral.operations.fitting import PipelineFit, ProfileFit


_WEIGHTS = "weights"
_ON_PROCESSOR = "weights kept on the CPU"
_MOST_LISTED = 3
"""Places, or GPUs of a split, that are named in one row."""
_MOST_PLACES = 12
_WHOLE_FROM = 10
"""From so many tokens a second on, a tenth of one says nothing."""
_PLUS = " + "


def put_fit(fit: Fit, *, verbose: bool) -> None:
    """Print whether a model fits and in which quality at best, then each place; with `verbose`, every part as well."""
    for line in _answer(fit):
        terminal.put_text(line)
    if fit.verdicts:
        terminal.put("")
        _put_places(fit, verbose=verbose)
    if not verbose:
        terminal.note_more("-v lists each part with its origin, every quantization, and the cost of a split")
        return
    terminal.put("")
    _put_shape(fit.shape)
    rows = [(name, _format_size(figure), *_describe_origin(name, figure)) for name, figure in _list_parts(fit)]
    terminal.put("")
    terminal.put_table(("part", "size", "origin", "from"), rows, empty="nothing is known")
    terminal.put("")
    terminal.put_table(("quantization", "on one GPU", "fits on"), _make_quantization_rows(fit), empty="")
    for cost in fit.bus_costs:
        terminal.put("")
        terminal.put_text(_describe_bus(cost))


def put_profile(fit: ProfileFit) -> None:
    """Print whether a declared need fits, and each GPU."""
    memory = fit.profile.memory
    need = format_bytes(round(memory.value))
    holders = [card.name for card, fits in fit.fits if fits]
    if not fit.fits:
        terminal.put(f"{fit.profile.name} needs {need}; name GPUs with --gpu or --cluster to see where it fits")
    elif holders:
        terminal.put_text(f"{fit.profile.name} fits: {need}, on {shorten_names(holders)}")
    else:
        terminal.put(f"{fit.profile.name} does not fit: it needs {need}")
    terminal.put_text(f"{memory.origin.value}: {memory.source}")
    if fit.file_size:
        terminal.put(f"its files take {format_bytes(fit.file_size)}")
    if fit.fits:
        terminal.put("")
        rows = [(card.name, "yes" if fits else "no", _format_memory(card.room)) for card, fits in fit.fits]
        terminal.put_table(("where", "fits", "usable"), rows, empty="")


def put_pipeline(fit: PipelineFit) -> None:
    """Print the parts of an image or video model, what they take in main memory, and each GPU."""
    pipeline = fit.pipeline
    name, least = pipeline.name, format_bytes(round(pipeline.least_vram.value))
    answer = {True: "fits", False: "does not fit", None: "can fit" if fit.verdicts else "loads in parts"}[fit.fits]
    turns = f"the part that needs most, the {pipeline.largest.name} in {pipeline.precision}, takes {least} on the GPU"
    terminal.put_text(f"{name} {answer}: {turns}, and a step's own memory comes on top, which is unknown")
    terminal.put_text(
        f"{pipeline.id} is a model of {pipeline.medium}s whose {len(pipeline.parts)} parts take turns on the GPU: main"
        f" memory is short below {format_bytes(round(pipeline.main_memory.value))}, and they are read from disk again"
    )
    for run in pipeline.measured:
        terminal.put_text(f"reported: {run.gigabytes:g} GB, {run.run} ({run.source})")
    terminal.put("")
    rows = [(part.name, _format_size(part.size), part.size.source) for part in pipeline.parts]
    terminal.put_table(("part", "size", "from"), rows, empty="")
    if fit.verdicts:
        terminal.put("")
        answers = {True: "yes", False: "no", None: "unknown"}
        places = [(verdict.card.name, answers[verdict.fits], verdict.reason) for verdict in fit.verdicts]
        terminal.put_table(("where", "fits", "memory"), places, empty="", most=_MOST_PLACES)


def _answer(fit: Fit) -> Iterator[str]:
    """Say whether it fits, the best quality that does, and what the memory is for."""
    name = f"{fit.shape.name} at {fit.shape.quantization}" if fit.shape.quantization else fit.shape.name
    size = ("" if fit.parts.is_complete else "at least ") + format_bytes(fit.parts.on_one_gpu)
    judged = [verdict for verdict in fit.verdicts if verdict.way not in SPILLS]
    whole = [verdict for verdict in judged if _has_known_memory(verdict)]
    holding = [verdict for verdict in whole if verdict.fits]
    if judged and not whole:
        yield f"{name} needs {size} on one GPU; whether it fits is unknown, as the memory of the GPUs is"
    elif not whole:
        yield f"{name} needs {size} on one GPU; name GPUs with --gpu or --cluster to see where it fits"
    elif holding:
        where = _describe_places([_name_place(verdict) for verdict in holding], whole, f"{size} on one GPU")
        yield f"{name} fits: {where}{_describe_fastest(holding)}"
    else:
        usable = f"the largest has {_find_largest(whole)} usable"
        yield f"{name} does not fit: {size} on one GPU, and {usable}{_describe_spill(fit)}"
    yield _describe_best_quality(fit, whole)
    parts = fit.parts
    vision = f", image encoder {_format_size(parts.vision)}" if parts.vision.value else ""
    times = f"{fit.running.parallel} x " if fit.running.parallel > 1 else ""
    yield (
        f"memory at {times}{fit.running.context} tokens of context: weights {_format_size(parts.weights)}{vision}, KV "
        f"cache {_format_size(parts.cache)}; on each GPU {_format_size(parts.buffer)} of compute buffer and "
        f"{_format_size(parts.context)} of CUDA context"
    )
    yield from _describe_share(fit.shape, holding)
    if fit.shape.experts:
        used = f"{fit.shape.experts_used} of {fit.shape.experts} experts"
        yield f"{used} for each token: memory holds all, speed depends on those"
    if fit.shape.origin is not Origin.MODEL_FILE:
        yield f"by its name: {fit.shape.source}; a model file or hf:owner/repo/file gives exact sizes"


_ROUND_SHARE = 100
"""Shares are written to the hundredth, rounded up."""


def _describe_share(shape: ModelShape, holding: Sequence[Verdict]) -> Iterator[str]:
    """Say the share of a GPU with which vLLM and SGLang start a repository."""
    alone = [verdict for verdict in holding if verdict.way is Way.ONE_GPU and verdict.gpus[0].memory]
    if shape.is_embedding_on_cpu or shape.origin is not Origin.DECLARED or not alone:
        return
    verdict = max(alone, key=lambda verdict: verdict.gpus[0].memory or 0)
    share = -(-_ROUND_SHARE * verdict.needs[0] // (verdict.gpus[0].memory or 1)) / _ROUND_SHARE
    setting = "`--gpu-memory-utilization`, SGLang's `--mem-fraction-static`"
    yield f"vLLM takes its share of a GPU at once: {share:.2f} of {verdict.gpus[0].name} or more ({setting})"


def _describe_best_quality(fit: Fit, places: Sequence[Verdict]) -> str:
    """Name the largest quantization that fits; without GPUs, the range of sizes."""
    if not fit.quantizations:
        return "sizes in other quantizations are unknown"
    least, most = fit.quantizations[0], fit.quantizations[-1]
    if not places:
        sizes = f"from {_format_size(least.size)} ({least.name}) to {_format_size(most.size)} ({most.name})"
        return f"other quantizations: {sizes}"
    best = next((quantized for quantized in reversed(fit.quantizations) if quantized.fits), None)
    if best is None:
        return f"no quantization fits: the smallest, {least.name}, takes {_format_size(least.size)}"
    where = _describe_places(best.fits, places, f"{_format_size(best.size)} on one GPU")
    return f"best quality that fits: {best.name}, {where}"


def _describe_places(names: Sequence[str], places: Sequence[Verdict], alone: str) -> str:
    """Name the only place; of several, say how many. `alone` is what a GPU that has all of it holds."""
    taken = "split" if all(_PLUS in name for name in names) else alone
    if len(names) == 1:
        return f"{taken}, on {_join_cards(names[0].split(_PLUS))}"
    kinds = "GPUs and splits" if any(verdict.way is Way.SPLIT for verdict in places) else "GPUs"
    return f"{taken}, on {len(names)} of {len(places)} {kinds}"


def _name_place(verdict: Verdict) -> str:
    return _PLUS.join(card.name for card in verdict.gpus)


def _describe_spill(fit: Fit) -> str:
    spilled = next((verdict for verdict in fit.verdicts if verdict.way in SPILLS and verdict.fits), None)
    if spilled is None:
        return ""
    speed = f"; then at most {_round_speed(spilled.speed.value)} tokens/s" if spilled.speed else ""
    return f"; {spilled.reason}, would do{speed}"


def _describe_fastest(holding: Sequence[Verdict]) -> str:
    fastest = max(holding, key=lambda verdict: verdict.speed.value if verdict.speed else 0.0)
    if fastest.speed is None:
        return ""
    where = f"fastest on {_join_cards([card.name for card in fastest.gpus])}, " if len(holding) > 1 else ""
    full = f", {_round_speed(fastest.speed_when_full.value)} with a full context" if fastest.speed_when_full else ""
    return f"; {where}at most {_round_speed(fastest.speed.value)} tokens/s{full}"


def _find_largest(verdicts: Sequence[Verdict]) -> str:
    return format_bytes(max(card.room or 0 for verdict in verdicts for card in verdict.gpus))


def _put_places(fit: Fit, *, verbose: bool) -> None:
    names = ("where", "fits", "layers on GPU", "tokens/s at most", "context full", "memory")
    rows = [_make_row(verdict) for verdict in fit.verdicts]
    shown = names if verbose else [name for name in names if name != "layers on GPU"]
    kept = [[row[names.index(name)] for name in shown] for row in rows]
    most = None if verbose else _MOST_PLACES
    terminal.put_table(
        shown, kept, empty="", expendable=("layers on GPU", "context full", "tokens/s at most"), most=most
    )


def _round_speed(tokens_per_second: float) -> str:
    """Write a bound without digits that it does not have."""
    return f"{tokens_per_second:.0f}" if tokens_per_second >= _WHOLE_FROM else f"{tokens_per_second:.1f}"


def _put_shape(shape: ModelShape) -> None:
    experts = f"{shape.experts_used} of {shape.experts} for each token" if shape.experts else None
    terminal.put_fields(
        (
            ("model", shape.name),
            ("architecture", shape.architecture or "unknown"),
            ("parameters", f"{shape.parameters / 1e9:.3g}B"),
            ("quantization", shape.quantization),
            ("layers", len(shape.blocks)),
            ("experts", experts),
            ("trained for", f"{shape.context_length} tokens" if shape.context_length else None),
            ("origin", f"{shape.origin.value}: {shape.source}"),
        )
    )


def _list_parts(fit: Fit) -> list[tuple[str, Figure | None]]:
    parts = fit.parts
    return [
        (_WEIGHTS, parts.weights),
        *([("image encoder, one GPU", parts.vision)] if parts.vision.value else []),
        ("kv cache", parts.cache),
        ("compute buffer, each GPU", parts.buffer),
        ("CUDA context, each GPU", parts.context),
        (_ON_PROCESSOR, parts.on_processor),
    ]


def _describe_origin(name: str, figure: Figure | None) -> tuple[str, str]:
    """Return a part's origin; that of the weights is above the table already."""
    if figure is None:
        return "unknown", "the file does not say what it depends on"
    is_named = name == _WEIGHTS and figure.origin is not Origin.COMPUTED
    return figure.origin.value, "as above" if is_named else figure.source


def _make_row(verdict: Verdict) -> tuple[str, ...]:
    where = _join_cards([card.name for card in verdict.gpus])
    layers = f"{verdict.layers_on_gpu} of {verdict.layers}" if verdict.layers_on_gpu else ""
    refusal = "no" if _has_known_memory(verdict) else "unknown"
    answer = ("yes, spilled" if verdict.way in SPILLS else "yes") if verdict.fits else refusal
    speeds = (_show_speed(verdict, verdict.speed), _show_speed(verdict, verdict.speed_when_full))
    return where, answer, layers, *speeds, _shorten_reason(verdict).removeprefix(f"{where}: ")


def _has_known_memory(verdict: Verdict) -> bool:
    return all(gpu.room is not None for gpu in verdict.gpus)


def _show_speed(verdict: Verdict, speed: Figure | None) -> str:
    return _round_speed(speed.value) if speed else "unknown" if verdict.fits else ""


def _make_quantization_rows(fit: Fit) -> list[tuple[str, ...]]:
    places = sum(verdict.way not in SPILLS for verdict in fit.verdicts)
    return [
        (quantized.name, _format_size(quantized.size), _list_places(quantized.fits, places))
        for quantized in fit.quantizations
    ]


def _list_places(names: tuple[str, ...], places: int) -> str:
    """List a few places by name; of many, say how many."""
    if not places:
        return ""
    if len(names) > _MOST_LISTED:
        return f"{len(names)} of {places} places"
    return ", ".join(_join_cards(name.split(_PLUS)) for name in names) or "none"


def _join_cards(cards: Sequence[str]) -> str:
    """Name the GPUs of a split; of many, the first and how many more."""
    if len(cards) > _MOST_LISTED:
        return f"{cards[0]}{_PLUS}{len(cards) - 1} more"
    return _PLUS.join(cards)


def _shorten_reason(verdict: Verdict) -> str:
    """Give the reason; of a split over many GPUs that holds the model, the fullest GPU."""
    if not verdict.fits or len(verdict.gpus) <= _MOST_LISTED:
        return verdict.reason
    reasons = verdict.reason.split("; ")
    fullest = max(range(len(reasons)), key=lambda index: verdict.needs[index])
    return f"at most {reasons[fullest]}"


def _describe_bus(cost: BusCost) -> str:
    where = f"{_join_cards(cost.gpus)} over {cost.bus or 'an unknown bus'}, without NVLink"
    layer = f"whole layers split: {_format_move(cost.layer_bytes, cost.layer_seconds)}"
    tensor = f"every layer split: {_format_move(cost.tensor_bytes, cost.tensor_seconds)} sent by each GPU"
    return f"bus, for each token ({where}): {layer}; {tensor}; each transfer's latency is unknown and comes on top"


def _format_move(size: int, seconds: float | None) -> str:
    return format_bytes(size) if seconds is None else f"{format_bytes(size)} in {seconds * 1e6:.1f} us"


def _format_size(figure: Figure | None) -> str:
    return "unknown" if figure is None else format_bytes(round(figure.value))


def _format_memory(memory: int | None) -> str:
    return "unknown" if memory is None else format_bytes(memory)
