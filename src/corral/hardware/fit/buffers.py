"""Compute buffers: room for what a model computes on the way from tokens to scores.

llama.cpp reserves them once, for the largest batch, and `ggml_gallocr` (ggml/src/ggml-alloc.c) reuses memory between
steps, so the size is that of the step that holds most at once. Which step that is, and what it holds, was found by
loading small models with one dimension changed at a time and reading "compute buffer size" in llama.cpp's log; the
comparison stands in docs/concepts/fit.md. All terms are for a batch of `n_ubatch` tokens, in 32-bit floats:

- the feed-forward step holds the results of gate, up and their product, for each expert that is used, and five vectors
  of the model's width: 3 x ffn x experts used + 5 x width;
- without flash attention, the scores of every head with every cached token: heads x cells + 5 x width + 2 x queries;
- the output step holds the scores of the tokens that are asked for and one vector of the width;
- besides, throughout, the mask that hides later tokens: cells x 2 bytes with flash attention, else x 4; one for the
  layers with a window and one for the others.
"""

from __future__ import annotations

from corral.hardware.fit.cache import cells
from corral.hardware.fit.running import Running
from corral.hardware.fit.shape import Attention, ModelShape
from corral.units import Bytes

_FLOAT = 4
_HALF = 2
_WIDTHS_HELD = 5
"""Vectors of the model's width at the peak: measured; an upper bound where the feed-forward step is narrow."""


def buffer_bytes(shape: ModelShape, running: Running) -> Bytes | None:
    """Compute the buffer of one GPU; None when widths are missing, or where layers are recurrent (not measured)."""
    width, vocabulary, attentions = shape.embedding_length, shape.vocabulary, _attentions(shape)
    if width is None or vocabulary is None or not shape.feed_forward_length or not attentions:
        return None
    steps = (
        running.batch * _feed_forward_floats(shape, shape.feed_forward_length, width),
        running.batch * max(_attention_floats(attention, running, width) for attention in attentions),
        vocabulary * running.scored + running.batch * width,
    )
    return Bytes(max(steps) * _FLOAT + _mask_bytes(attentions, running))


def _attentions(shape: ModelShape) -> list[Attention]:
    """List the kinds of attention that occur, each once."""
    if any(block.state_numbers for block in shape.blocks):
        return []
    return list(dict.fromkeys(block.attention for block in shape.blocks if block.attention is not None))


def _feed_forward_floats(shape: ModelShape, feed_forward: int, width: int) -> int:
    return 3 * feed_forward * max(1, shape.experts_used) + _WIDTHS_HELD * width


def _attention_floats(attention: Attention, running: Running, width: int) -> int:
    queries = attention.heads * attention.key_length
    scores = 0 if running.flash_attention else attention.heads * cells(attention, running)
    return scores + _WIDTHS_HELD * width + 2 * queries


def _mask_bytes(attentions: list[Attention], running: Running) -> int:
    kinds = {attention.window is None: cells(attention, running) for attention in attentions}
    return sum(kinds.values()) * running.batch * (_HALF if running.flash_attention else _FLOAT)
