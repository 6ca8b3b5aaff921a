"""Makes faces: a DCGAN's generator of 64 x 64 pixels, computed with NumPy.

Five transposed convolutions, each but the last followed by a batch normalization and a rectifier; the last by a
hyperbolic tangent (A. Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", 2015). The weights are a checkpoint of PyTorch, read without running what is in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from corral.engines.onnx.pictures import Numbers, Pixels
from corral.engines.tensors import read_tensors
from corral.work import TaskInvalidError

_ENTRY = "netG_state_dict"
_LAYERS = (0, 3, 6, 9, 12)
"""The convolutions' numbers in the checkpoint; each is followed by its normalization."""
_KERNEL = 4
_EPSILON = 1e-5
"""What PyTorch's normalization adds to a variance."""


class FaceGenerator:
    """A generator that is in memory."""

    def __init__(self, checkpoint: Path) -> None:
        """Read the weights. Raises: TaskInvalidError."""
        tensors = read_tensors(checkpoint, _ENTRY)
        try:
            self._layers = [_read_layer(tensors, number) for number in _LAYERS]
        except KeyError as error:
            what = f"{checkpoint.name!r} is not a generator of faces: it has no {error}"
            raise TaskInvalidError(what, hint="use `dcgan-faces-64`") from error
        self._noise = self._layers[0][0].shape[0]

    def draw(self, seed: int, variant: int, variation: float) -> Pixels:
        """Return a face of 64 x 64 pixels, the same for the same numbers.

        `variant` 0 is the face of the seed; others differ from it by `variation`, 0 (not at all) to 1 (entirely).
        """
        noise = self._make_noise(seed)
        if variant:
            other = self._make_noise(seed, variant)
            noise = np.sqrt(1 - variation**2, dtype=np.float32) * noise + np.float32(variation) * other
        planes = noise.reshape(1, 1, -1)
        for number, (weights, shift) in enumerate(self._layers):
            planes = _convolve(planes, weights, is_first=number == 0) + shift
            planes = np.asarray(np.maximum(planes, 0) if number < len(self._layers) - 1 else np.tanh(planes))
        return np.rint((planes + 1) * 127.5).astype(np.uint8)

    def _make_noise(self, *numbers: int) -> Numbers:
        # NumPy promises of this generator that no later version gives other numbers for a seed.
        return np.asarray(np.random.RandomState(numbers).standard_normal(self._noise), np.float32)


def _read_layer(tensors: dict[str, Numbers], number: int) -> tuple[Numbers, Numbers]:
    """Return a convolution's weights with its normalization in them, `(in, 4, 4, out)`, and what is added after it."""
    weights = np.asarray(tensors[f"main.{number}.weight"].transpose(0, 2, 3, 1), np.float32)
    if number == _LAYERS[-1]:
        return np.asarray(weights, order="C"), np.zeros_like(weights[0, 0, 0])
    scale, bias, mean, variance = (
        tensors[f"main.{number + 1}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
    )
    factor = np.asarray(scale / np.sqrt(variance + _EPSILON), np.float32)
    return np.asarray(weights * factor, np.float32, order="C"), np.asarray(bias - mean * factor, np.float32)


def _convolve(planes: Numbers, weights: Numbers, *, is_first: bool) -> Numbers:
    """Transposed convolution of `(h, w, in)`: of one pixel to 4 x 4, or (stride 2, padding 1) to twice the size."""
    height, width, depth = planes.shape
    spread = planes.reshape(-1, depth) @ weights.reshape(depth, -1)
    spread = spread.reshape(height, width, _KERNEL, _KERNEL, -1)
    if is_first:
        return spread[0, 0]
    whole = np.zeros((2 * height + 2, 2 * width + 2, spread.shape[-1]), np.float32)
    for down in range(_KERNEL):
        for right in range(_KERNEL):
            whole[down : down + 2 * height : 2, right : right + 2 * width : 2] += spread[:, :, down, right]
    return whole[1:-1, 1:-1]
