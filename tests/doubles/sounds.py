"""Sounds for tests that need no voice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def a_hum(seconds: float) -> npt.NDArray[np.float32]:
    """A hum at 16 kHz whose pitch and timbre change, the same each time; the golden results were computed from it."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    pitch = 110 + 40 * np.sin(2 * np.pi * 0.7 * time + 1)
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    tones = (
        np.sin(number * phase + number) / number * (1 + 0.5 * np.sin(2 * np.pi * (1 + number / 7) * time))
        for number in range(1, 30)
    )
    return (0.05 * sum(tones)).astype(np.float32)
