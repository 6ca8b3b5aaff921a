"""Compute buffers: room for what a model computes on the way from tokens to scores.

llama.cpp reserves them once, for the largest batch, and reuses memory between steps (`ggml_gallocr`), so the size is
that of the step that holds most at once. Numbers of a step are 32-bit floats.
"""

from __future__ import annotations

from corral.hardware.fit.running import Running
from corral.hardware.fit.shape import ModelShape
from corral.units import Bytes

_FLOAT = 4


def buffer_bytes(shape: ModelShape, running: Running) -> Bytes | None:
    """Compute the buffer of one GPU; None when the widths are missing."""
    if shape.embedding_length is None or shape.vocabulary is None:
        return None
    scores = shape.vocabulary + shape.embedding_length
    feed_forward = 2 * (shape.feed_forward_length or 0) + 2 * shape.embedding_length
    return Bytes(running.batch * _FLOAT * max(scores, feed_forward))
