"""The KV cache: keys and values of every token that a model has seen, kept in each layer.

Bytes of a layer = cells x sequences x (key numbers in the type of keys + value numbers in that of values), after
llama.cpp's `llama_kv_cache` (src/llama-kv-cache.cpp): the cells of a sequence are its context, rounded up to 256; a
layer with a sliding window keeps min(context, window + batch) of them (`llama_kv_cache_iswa`,
src/llama-kv-cache-iswa.cpp).
"""

from __future__ import annotations

from corral.hardware.fit.ggml import bytes_of
from corral.hardware.fit.running import Running
from corral.hardware.fit.shape import Attention, Block, ModelShape
from corral.units import Bytes

CELL_STEP = 256
"""llama.cpp rounds the cells of a sequence up to a multiple of this (`GGML_PAD(n_ctx, 256)`, src/llama-context.cpp)."""
_STATE_BYTES = 4
"""Recurrent states are kept in 32-bit floats (`llama_memory_recurrent`, F32 by default)."""


def cache_bytes(shape: ModelShape, running: Running) -> Bytes | None:
    """Compute the cache of all layers; None when the facts of the attention are missing."""
    if not shape.is_attention_known:
        return None
    return Bytes(sum(block_cache_bytes(block, running) for block in shape.blocks))


def block_cache_bytes(block: Block, running: Running) -> int:
    """Compute what one layer keeps for all sequences."""
    state = block.state_numbers * _STATE_BYTES * running.parallel
    return state + (_attention_bytes(block.attention, running) if block.attention else 0)


def cells(attention: Attention, running: Running) -> int:
    """Say how many tokens a layer keeps for each sequence."""
    whole = padded(running.context)
    if attention.window is None:
        return whole
    return min(whole, padded(attention.window + running.batch))


def padded(tokens: int) -> int:
    """Round up as llama.cpp does."""
    return -(-tokens // CELL_STEP) * CELL_STEP


def _attention_bytes(attention: Attention, running: Running) -> int:
    keys = bytes_of(running.cache_type_k, attention.key_numbers)
    values = bytes_of(running.cache_type_v, attention.value_numbers)
    return cells(attention, running) * running.parallel * (keys + values)
