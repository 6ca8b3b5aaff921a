"""Prints what fits, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.figures import Origin
from corral.hardware.fit.splitting import Way
from corral.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.figures import Figure
    from corral.hardware.fit.judging import BusCost, Fit
    from corral.hardware.fit.shape import ModelShape
    from corral.hardware.fit.splitting import Verdict
    from corral.operations.fitting import ProfileFit


_WEIGHTS = "weights"
_MOST_LISTED = 3
"""Places, or cards of a split, that are named in one row."""
_PLUS = " + "


def put_fit(fit: Fit) -> None:
    """Print parts, places, quantizations and the bus."""
    _put_shape(fit.shape)
    rows = [(name, _size(figure), *_origin(name, figure)) for name, figure in _parts(fit)]
    terminal.put("")
    terminal.put_table(("part", "size", "origin", "from"), rows, empty="nothing is known")
    if fit.verdicts:
        terminal.put("")
        terminal.put_table(
            ("where", "fits", "n_gpu_layers", "tokens/s at most", "why"), map(_row, fit.verdicts), empty=""
        )
    terminal.put("")
    terminal.put_table(("quantization", "on one GPU", "fits on"), _quantization_rows(fit), empty="")
    for cost in fit.bus_costs:
        terminal.put("")
        terminal.put_text(_bus_sentence(cost))


def put_profile(fit: ProfileFit) -> None:
    """Print a declared need and the cards."""
    memory = fit.profile.memory
    terminal.put_fields(
        (
            ("model", fit.profile.name),
            ("needs", format_bytes(round(memory.value))),
            ("origin", f"{memory.origin.value}: {memory.source}"),
            ("files", format_bytes(fit.file_size) if fit.file_size else None),
        )
    )
    if fit.fits:
        terminal.put("")
        rows = [(card.name, "yes" if fits else "no", _memory(card.room)) for card, fits in fit.fits]
        terminal.put_table(("where", "fits", "usable"), rows, empty="")


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


def _parts(fit: Fit) -> list[tuple[str, Figure | None]]:
    parts = fit.parts
    return [
        (_WEIGHTS, parts.weights),
        ("kv cache", parts.cache),
        ("compute buffer, each GPU", parts.buffer),
        ("CUDA context, each GPU", parts.context),
        ("weights kept on the CPU", parts.on_processor),
    ]


def _origin(name: str, figure: Figure | None) -> tuple[str, str]:
    """Say where a part is from; that of the weights stands above the table already."""
    if figure is None:
        return "unknown", "the file does not say what it depends on"
    is_told = name == _WEIGHTS and figure.origin is not Origin.COMPUTED
    return figure.origin.value, "as above" if is_told else figure.source


def _row(verdict: Verdict) -> tuple[str, ...]:
    where = _joined([card.name for card in verdict.cards])
    speed = f"{verdict.speed.value:.1f}" if verdict.speed else "unknown" if verdict.fits else ""
    layers = f"{verdict.layers_on_gpu} of {verdict.layers}" if verdict.layers_on_gpu else ""
    answer = ("yes, spilled" if verdict.way is Way.SPILLED else "yes") if verdict.fits else "no"
    return where, answer, layers, speed, _shortened(verdict)


def _quantization_rows(fit: Fit) -> list[tuple[str, ...]]:
    places = sum(verdict.way is not Way.SPILLED for verdict in fit.verdicts)
    return [(one.name, _size(one.size), _places(one.fits, places)) for one in fit.quantizations]


def _places(names: tuple[str, ...], places: int) -> str:
    """List a few places by name; of many, say how many."""
    if not places:
        return ""
    if len(names) > _MOST_LISTED:
        return f"{len(names)} of {places} places"
    return ", ".join(_joined(name.split(_PLUS)) for name in names) or "none"


def _joined(cards: Sequence[str]) -> str:
    """Name the cards of a split; of many, the first and how many more."""
    if len(cards) > _MOST_LISTED:
        return f"{cards[0]}{_PLUS}{len(cards) - 1} more"
    return _PLUS.join(cards)


def _shortened(verdict: Verdict) -> str:
    """Give the reason; of a split over many cards that holds the model, the card that is fullest."""
    if not verdict.fits or len(verdict.cards) <= _MOST_LISTED:
        return verdict.reason
    reasons = verdict.reason.split("; ")
    fullest = max(range(len(reasons)), key=lambda place: verdict.needs[place])
    return f"at most {reasons[fullest]}"


def _bus_sentence(cost: BusCost) -> str:
    where = f"{_joined(cost.cards)} over {cost.bus or 'a bus that is not known'}, without NVLink"
    layer = f"whole layers split: {_moved(cost.layer_bytes, cost.layer_seconds)}"
    tensor = f"every layer split: {_moved(cost.tensor_bytes, cost.tensor_seconds)} sent by each card"
    return f"bus, for each token ({where}): {layer}; {tensor}; latency of each transfer comes on top and is not known"


def _moved(size: int, seconds: float | None) -> str:
    return format_bytes(size) if seconds is None else f"{format_bytes(size)} in {seconds * 1e6:.1f} us"


def _size(figure: Figure | None) -> str:
    return "unknown" if figure is None else format_bytes(round(figure.value))


def _memory(memory: int | None) -> str:
    return "unknown" if memory is None else format_bytes(memory)
