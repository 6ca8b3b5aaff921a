"""Measures of a picture: brightness, sharpness, and a hash that nearly equal pictures nearly share.

Arrays are of brightness, 0 to 255, rows first.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

LARGEST_SIDE = 1024
"""Pixels; sharpness is measured of pictures that are made no larger, so that it depends less on their size."""
HASH_SIDE = 32
"""Pixels of the picture that is hashed."""
_FREQUENCIES = 8
"""Of each direction: the hash has a bit for each pair of them."""

Brightness = npt.NDArray[np.float64]


def measure_sharpness(picture: Brightness) -> float:
    """Return the variance of the Laplacian (four neighbours), as OpenCV's users know it; 0 below 3 pixels a side.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    if min(picture.shape) < 3:
        return 0.0
    inner = picture[1:-1, 1:-1]
    laplacian = picture[:-2, 1:-1] + picture[2:, 1:-1] + picture[1:-1, :-2] + picture[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


def hash_picture(small: Brightness) -> str:
    """Return the perceptual hash of a picture of `HASH_SIDE` pixels a side: which of its low frequencies are strong.

    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, as `imagehash.phash` has it. The
    mean brightness is left out of the median and of the hash, whose first bit is always 0.
    """
    transform = _make_transform()
    low = (transform @ small @ transform.T).ravel()
    bits = low > np.median(low[1:])
    bits[0] = False
    return np.packbits(bits).tobytes().hex()


@lru_cache
def _make_transform() -> Brightness:
    """Return the first rows of the discrete cosine transform (II) of `HASH_SIDE` values."""
    places = 2 * np.arange(HASH_SIDE) + 1
    return np.cos(np.pi * np.arange(_FREQUENCIES)[:, None] * places / (2 * HASH_SIDE))
