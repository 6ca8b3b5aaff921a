"""Who speaks: the speaker encoder of Resemblyzer in NumPy, so that it needs no PyTorch.

Three LSTM layers of 256 read 1.6 s of a mel spectrogram at a time; the last state, through a linear layer, is 256
numbers, near each other for one speaker. The spectrogram and the cuts are those of the package, whose results for the
same samples are kept in a test. Only pauses are cut in another way: there by WebRTC's detector, here by loudness.

Source: Resemblyzer 0.1.4 (Apache-2.0), `audio.py` and `voice_encoder.py`; its network is that of "Generalized
End-to-End Loss for Speaker Verification" (arXiv 1710.10467). The mel scale is Slaney's, as librosa has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corral.engines.tensors import Numbers, read_tensors
from corral.work import TaskInvalidError

SAMPLE_RATE = 16_000
WINDOW_S = 1.6
"""The stretch that the network hears at a time: with less of speech, it says little."""
_FRAME, _STEP, _BANDS, _WINDOW = 400, 160, 40, 160
"""Samples of a frame and from one to the next, bands of a frame, frames of a window."""
_WINDOWS_PER_S, _LEAST_COVERED = 1.3, 0.75
_LAYERS, _STATES = 3, 256
_LOUDNESS_DB = -30.0
_PAUSE_FRAME = 480
"""30 ms, as the package's detector of speech has it."""
_PAUSE_DB = -35.0
"""Below the loudest frames; breath and noise of a room are quieter, consonants are not."""
_SMOOTHED, _WIDENED = 8, 7
"""Frames of 30 ms that the package takes the mean of, and that it keeps around speech."""


class SpeakerEncoder:
    """The network with its weights."""

    def __init__(self, path: Path) -> None:
        """Read the weights: `pretrained.pt`, or the folder that it is in. Blocks. Raises: TaskInvalidError."""
        file = path / "pretrained.pt" if path.is_dir() else path
        weights = read_tensors(file, "model_state")
        try:
            self._layers = [_Layer(weights, number) for number in range(_LAYERS)]
            self._linear, self._bias = weights["linear.weight"], weights["linear.bias"]
        except KeyError as error:
            raise TaskInvalidError(f"{file.name!r} is not Resemblyzer's network: it has no {error}") from error

    def embed(self, samples: Numbers) -> Numbers:
        """Return where the speaker is: 256 numbers of length 1. The samples are those that `prepare` returns."""
        starts = list_windows(len(samples))
        missing = starts[-1] * _STEP + _WINDOW * _STEP - len(samples)
        mels = compute_mels(np.pad(samples, (0, missing)) if missing >= 0 else samples)
        windows = np.stack([mels[start : start + _WINDOW] for start in starts])
        for layer in self._layers:
            windows = layer.run(windows)
        raw = np.maximum(windows[:, -1] @ self._linear.T + self._bias, 0)
        return _normalize((raw / np.linalg.norm(raw, axis=1, keepdims=True)).mean(axis=0))


class _Layer:
    def __init__(self, weights: Mapping[str, Numbers], number: int) -> None:
        self._inner = weights[f"lstm.weight_hh_l{number}"].T
        self._outer = weights[f"lstm.weight_ih_l{number}"].T
        self._bias = weights[f"lstm.bias_ih_l{number}"] + weights[f"lstm.bias_hh_l{number}"]

    def run(self, windows: Numbers) -> Numbers:
        """Return the states after each frame: `(windows, frames, states)`."""
        given = windows @ self._outer + self._bias
        states = np.zeros((len(windows), windows.shape[1], _STATES), np.float32)
        hidden: npt.NDArray[Any] = np.zeros((len(windows), _STATES), np.float32)
        cell = hidden
        for frame in range(windows.shape[1]):
            gates = given[:, frame] + hidden @ self._inner
            entering, kept, candidate, shown = np.split(gates, 4, axis=1)
            cell = _sigmoid(kept) * cell + _sigmoid(entering) * np.tanh(candidate)
            hidden = _sigmoid(shown) * np.tanh(cell)
            states[:, frame] = hidden
        return states


def prepare(samples: Numbers) -> Numbers:
    """Return speech at 16 kHz with an even loudness and without its long pauses; empty where there is none."""
    if len(samples) < _PAUSE_FRAME or not samples.any():
        return samples[:0]
    loudness = 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))
    louder = samples * np.float32(10 ** (max(0.0, _LOUDNESS_DB - loudness) / 20))
    return _cut_pauses(louder.astype(np.float32))


def measure_similarity(first: Numbers, second: Numbers) -> float:
    """Return how alike two speakers are, 0 to 1."""
    return float(first @ second)


def _cut_pauses(samples: Numbers) -> Numbers:
    frames = samples[: len(samples) // _PAUSE_FRAME * _PAUSE_FRAME].reshape(-1, _PAUSE_FRAME)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    speaks = power > np.quantile(power, 0.95) * 10 ** (_PAUSE_DB / 10)
    padded = np.pad(speaks.astype(float), ((_SMOOTHED - 1) // 2, _SMOOTHED // 2))
    smooth = np.round(np.convolve(padded, np.full(_SMOOTHED, 1 / _SMOOTHED), "valid"))
    kept = np.convolve(smooth, np.ones(_WIDENED), "same") > 0
    return frames[kept].ravel()


def list_windows(count: int) -> list[int]:
    """Return the frames at which windows begin, for so many samples."""
    frames = -(-(count + 1) // _STEP)
    step = round(SAMPLE_RATE / _WINDOWS_PER_S / _STEP)
    starts = list(range(0, max(1, frames - _WINDOW + step + 1), step))
    covered = (count - starts[-1] * _STEP) / (_WINDOW * _STEP)
    return starts[:-1] if covered < _LEAST_COVERED and len(starts) > 1 else starts


def compute_mels(samples: Numbers) -> Numbers:
    """Return a mel spectrogram, `(frames, 40)`: power, not its logarithm."""
    padded = np.pad(samples, _FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_STEP]
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames * window, axis=1)))
    return (power @ _make_filters().T).astype(np.float32)


@cache
def _make_filters() -> npt.NDArray[np.float64]:
    """Return triangles in the spectrum, evenly spaced on the mel scale and each of area 1: `(40, 201)`."""
    edges = _to_hertz(np.linspace(_to_mel(0.0), _to_mel(SAMPLE_RATE / 2), _BANDS + 2))
    bins = np.linspace(0, SAMPLE_RATE / 2, _FRAME // 2 + 1)
    widths = np.diff(edges)
    ramps = edges[:, None] - bins[None, :]
    rising, falling = -ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]


_KINK_HERTZ, _KINK_MEL = 1000.0, 15.0
"""Where Slaney's scale goes from linear, 200/3 Hz for each mel, to logarithmic."""
_LOG_STEP = np.log(6.4) / 27


def _to_mel(hertz: float) -> float:
    if hertz < _KINK_HERTZ:
        return hertz * 3 / 200
    return _KINK_MEL + float(np.log(hertz / _KINK_HERTZ) / _LOG_STEP)


def _to_hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    logarithmic = _KINK_HERTZ * np.exp(_LOG_STEP * (mels - _KINK_MEL))
    return np.where(mels < _KINK_MEL, mels * 200 / 3, logarithmic)


def _sigmoid(numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:  # Any: of the precision that it is given
    return 0.5 * (1 + np.tanh(0.5 * numbers))  # without a number that overflows


def _normalize(numbers: Numbers) -> Numbers:
    return (numbers / np.linalg.norm(numbers)).astype(np.float32)
