"""The VRAM of a model, part by part: weights, KV cache, compute buffers, and the overhead of every process.

The KV cache holds keys and values of every token that a model has read, in each layer: cells x sequences x (key numbers
in the type of keys + value numbers in that of values), after llama.cpp's `llama_kv_cache` (src/llama-kv-cache.cpp). The
cells of a sequence are its context, rounded up to 256; a layer with a sliding window keeps min(context, window + batch)
of them (`llama_kv_cache_iswa`, src/llama-kv-cache-iswa.cpp).

Compute buffers are room for what a model computes on the way from tokens to scores. llama.cpp reserves them once, for
the largest batch, and `ggml_gallocr` (ggml/src/ggml-alloc.c) reuses memory between steps, so the size is that of the
step that holds most at once. Which step that is, and what it holds, was measured: small models were loaded with one
dimension changed at a time, and "compute buffer size" read from llama.cpp's log (docs/concepts/fit.md has the
comparison). All terms are for a batch of `n_ubatch` tokens, in 32-bit floats:

- the feed-forward step holds the results of gate, up and their product, for each expert that is used, and five vectors
  of the model's width: 3 x ffn x experts used + 5 x width;
- without flash attention, the scores of every head with every cached token: heads x cells + 5 x width + 2 x queries;
- the output step holds the scores of the tokens that are asked for and one vector of the width;
- in addition, throughout, the mask that hides later tokens: cells x 2 bytes with flash attention, else x 4; one for the
  layers with a window and one for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from corral.figures import Figure, Origin, computed
from corral.hardware.fit.quantizations import count_bytes
from corral.hardware.fit.shape import Attention, Block, ModelShape
from corral.units import Bytes

USUAL_CONTEXT = 4096
"""Tokens; Ollama's default below 24 GiB of VRAM (docs/context-length.mdx), and that of Corral's `llama` engine."""
USUAL_BATCH = 512
"""Tokens of a prompt that are worked on at once: `n_ubatch` in llama.cpp's `common_params` (common/common.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The settings of llama.cpp and Ollama that change how much memory a model takes."""

    context: int = USUAL_CONTEXT
    """Tokens for each of the parallel sequences."""
    parallel: int = 1
    """Sequences that are worked on at the same time."""
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    batch: int = USUAL_BATCH
    flash_attention: bool = True
    """llama.cpp turns it on where the GPU can (`--flash-attn auto`)."""
    scores_whole_batch: bool = False
    """Whether room is kept for the scores of every token of a batch. llama.cpp's server did that until it learned
    `n_outputs_max`; now it keeps room for one token of each sequence. Which one an Ollama has is not known."""

    @property
    def scored(self) -> int:
        """Tokens whose scores are computed at once."""
        return self.batch if self.scores_whole_batch else self.parallel


_MIB = 2**20

CUDA_CONTEXT = Figure(
    value=457 * _MIB,
    unit="B",
    origin=Origin.DECLARED,
    source="457 MiB that Ollama sets aside on a GPU for context structures (ollama/ollama ml/device.go, MinimumMemory)",
)
"""The VRAM of a process before it loads anything: the CUDA context, kernels, the allocator's first pool."""

GPU_RESERVE = 512 * _MIB
"""Bytes of every GPU that no program gets.

A GPU reports less than its nominal size (an RTX 4090 24,564 of 24,576 MiB, an RTX 5070 Ti 16,303 of 16,384), and
the driver keeps a part of that for itself (`Reserved` in `nvidia-smi -q -d MEMORY`: some 200 to 500 MiB by GPU and
driver). The CUDA context of a program is not in this: it is part of what the program needs.
"""


def get_usable(memory: Bytes) -> Bytes:
    """Say how much of a GPU of so many bytes programs get."""
    return Bytes(max(0, memory - GPU_RESERVE))


CELL_STEP = 256
"""llama.cpp rounds the cells of a sequence up to a multiple of this (`GGML_PAD(n_ctx, 256)`, src/llama-context.cpp)."""
_STATE_BYTES = 4
"""Recurrent states are kept in 32-bit floats (`llama_memory_recurrent`, F32 by default)."""


def count_cache_bytes(shape: ModelShape, running: Running) -> Bytes | None:
    """Compute the cache of all layers; None when the facts of the attention are missing."""
    if not shape.is_attention_known:
        return None
    return Bytes(sum(count_block_cache_bytes(block, running) for block in shape.blocks))


def count_block_cache_bytes(block: Block, running: Running) -> int:
    """Compute what one layer keeps for all sequences."""
    state = block.state_numbers * _STATE_BYTES * running.parallel
    return state + (_count_attention_bytes(block.attention, running) if block.attention else 0)


def count_cells(attention: Attention, running: Running) -> int:
    """Say how many tokens a layer keeps for each sequence."""
    whole = pad(running.context)
    if attention.window is None:
        return whole
    return min(whole, pad(attention.window + running.batch))


def pad(tokens: int) -> int:
    """Round up as llama.cpp does."""
    return -(-tokens // CELL_STEP) * CELL_STEP


def _count_attention_bytes(attention: Attention, running: Running) -> int:
    keys = count_bytes(running.cache_type_k, attention.key_numbers)
    values = count_bytes(running.cache_type_v, attention.value_numbers)
    return count_cells(attention, running) * running.parallel * (keys + values)


_FLOAT = 4
_HALF = 2
_WIDTHS_HELD = 5
"""Vectors of the model's width at the peak: measured; an upper bound where the feed-forward step is narrow."""


def count_buffer_bytes(shape: ModelShape, running: Running) -> Bytes | None:
    """Compute the buffer of one GPU; None when widths are missing, or when every layer is recurrent (not measured)."""
    width, vocabulary, attentions = shape.embedding_length, shape.vocabulary, _list_attentions(shape)
    if width is None or vocabulary is None or not shape.feed_forward_length or not attentions:
        return None
    steps = (
        running.batch * _count_feed_forward_floats(shape, shape.feed_forward_length, width),
        running.batch * max(_count_attention_floats(attention, running, width) for attention in attentions),
        vocabulary * _count_scored(shape, running) + running.batch * width,
    )
    return Bytes(max(steps) * _FLOAT + _count_mask_bytes(attentions, running))


def _count_scored(shape: ModelShape, running: Running) -> int:
    """Count the tokens whose scores have room: of hybrid models a whole batch's, which covers their recurrent steps.

    Qwen3.6 27B is logged with 495.0 MiB, which is 512 tokens x (248,320 scores + 5120) x 4 bytes.
    """
    is_hybrid = any(block.state_numbers for block in shape.blocks)
    return running.batch if is_hybrid else running.scored


def _list_attentions(shape: ModelShape) -> list[Attention]:
    """List the kinds of attention that occur, each once."""
    return list(dict.fromkeys(block.attention for block in shape.blocks if block.attention is not None))


def _count_feed_forward_floats(shape: ModelShape, feed_forward: int, width: int) -> int:
    return 3 * feed_forward * max(1, shape.experts_used) + _WIDTHS_HELD * width


def _count_attention_floats(attention: Attention, running: Running, width: int) -> int:
    queries = attention.heads * attention.key_length
    scores = 0 if running.flash_attention else attention.heads * count_cells(attention, running)
    return scores + _WIDTHS_HELD * width + 2 * queries


def _count_mask_bytes(attentions: list[Attention], running: Running) -> int:
    kinds = {attention.window is None: count_cells(attention, running) for attention in attentions}
    return sum(kinds.values()) * running.batch * (_HALF if running.flash_attention else _FLOAT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Memory of one model with one way of running it; None is unknown."""

    weights: Figure
    """On GPUs, when all layers are; without what sees images."""
    vision: Figure
    """What sees images, encoder and projector, on one GPU; 0 where the model has none, or it is not known of."""
    on_processor: Figure
    """Weights that stay in the machine's memory even then."""
    cache: Figure | None
    buffer: Figure | None
    """On each GPU."""
    context: Figure
    """On each GPU."""

    @property
    def divisible(self) -> int:
        """Bytes that a split shares out."""
        return round(self.weights.value + (self.cache.value if self.cache else 0))

    @property
    def floor(self) -> int:
        """Bytes that every GPU needs in addition."""
        return round(self.context.value + (self.buffer.value if self.buffer else 0))

    @property
    def on_one_gpu(self) -> int:
        """Bytes on a GPU that has all of it."""
        return self.divisible + round(self.vision.value) + self.floor

    @property
    def is_complete(self) -> bool:
        """Whether every part is known; otherwise the sums are lower bounds."""
        return self.cache is not None and self.buffer is not None


def compute_parts(shape: ModelShape, running: Running) -> Parts:
    """Compute every part. Raises: UnknownTypeError for a cache type that ggml does not have."""
    return Parts(
        weights=_compute_weights(shape),
        vision=computed(shape.vision, "B", "image encoder and projector in 16 bits" if shape.vision else "none known"),
        on_processor=_compute_processor_share(shape),
        cache=_compute_cache(shape, running),
        buffer=_compute_buffer(shape, running),
        context=CUDA_CONTEXT,
    )


def _compute_weights(shape: ModelShape) -> Figure:
    return Figure(value=shape.weights_on_gpu - shape.vision, unit="B", origin=shape.origin, source=shape.source)


def _compute_processor_share(shape: ModelShape) -> Figure:
    if not shape.is_embedding_on_cpu:
        return computed(0, "B", "PyTorch puts the token embedding on the GPU too")
    copied = ", and copies to the GPU because it is the output as well" if shape.is_output_tied else ""
    return computed(shape.embedding, "B", f"token embedding, which llama.cpp keeps on the CPU{copied}")


def _compute_cache(shape: ModelShape, running: Running) -> Figure | None:
    size = count_cache_bytes(shape, running)
    if size is None:
        return None
    types = f"{running.cache_type_k}/{running.cache_type_v}"
    cached = sum(block.attention is not None for block in shape.blocks)
    tokens = f"{running.parallel} x {running.context} tokens"
    explanation = f"{cached} of {len(shape.blocks)} layers x {tokens}, keys/values in {types}"
    windows = sorted({block.attention.window for block in shape.blocks if block.attention and block.attention.window})
    windowed = f"; windows of {', '.join(map(str, windows))} tokens" if windows else ""
    return computed(size, "B", f"{explanation}{windowed}")


def _compute_buffer(shape: ModelShape, running: Running) -> Figure | None:
    size = count_buffer_bytes(shape, running)
    if size is None:
        return None
    attention = "flash attention" if running.flash_attention else "no flash attention"
    dimensions = f"width {shape.embedding_length}, ffn {shape.feed_forward_length}, vocabulary {shape.vocabulary}"
    return computed(size, "B", f"largest step of a batch of {running.batch} tokens: {dimensions}, {attention}")
