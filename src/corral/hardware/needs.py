"""What one model needs in VRAM, as a value: placement compares it with cards, `fit` works it out."""

from __future__ import annotations

from dataclasses import dataclass

from corral.figures import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """VRAM that a loaded model takes."""

    engine: str
    model: str
    divisible: Figure
    """Bytes that a split over GPUs shares out: weights and KV cache."""
    floor: Figure
    """Bytes that every GPU of a split needs besides its share: CUDA context, compute buffers."""
    splits: bool = True
    """Whether the engine can split it over GPUs."""

    def on(self, gpus: int) -> int:
        """Bytes on each of so many GPUs when it is split evenly."""
        return -(-round(self.divisible.value) // gpus) + round(self.floor.value)
