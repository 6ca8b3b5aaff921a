"""What one model takes, part by part, each a figure with its origin."""

from __future__ import annotations

from dataclasses import dataclass

from corral.figures import Figure, Origin, computed
from corral.hardware.fit.buffers import buffer_bytes
from corral.hardware.fit.cache import cache_bytes
from corral.hardware.fit.overheads import CUDA_CONTEXT
from corral.hardware.fit.running import Running
from corral.hardware.fit.shape import ModelShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Memory of one model with one way of running it; None is unknown."""

    weights: Figure
    """On GPUs, when all layers are."""
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
        """Bytes that every GPU needs besides."""
        return round(self.context.value + (self.buffer.value if self.buffer else 0))

    @property
    def on_one_gpu(self) -> int:
        """Bytes on a GPU that has all of it."""
        return self.divisible + self.floor

    @property
    def is_complete(self) -> bool:
        """Whether every part is known; otherwise the sums are lower bounds."""
        return self.cache is not None and self.buffer is not None


def parts_of(shape: ModelShape, running: Running) -> Parts:
    """Compute every part. Raises: UnknownTypeError for a cache type that ggml does not have."""
    return Parts(
        weights=_weights(shape),
        on_processor=_on_processor(shape),
        cache=_cache(shape, running),
        buffer=_buffer(shape, running),
        context=CUDA_CONTEXT,
    )


def _weights(shape: ModelShape) -> Figure:
    origin = shape.origin if shape.origin is Origin.MODEL_FILE else Origin.ASSUMED
    return Figure(value=shape.weights_on_gpu, unit="B", origin=origin, source=shape.source)


def _on_processor(shape: ModelShape) -> Figure:
    if not shape.is_embedding_on_cpu:
        return computed(0, "B", "PyTorch puts the token embedding on the GPU too")
    copied = ", and copies to the GPU because it is the output as well" if shape.is_output_tied else ""
    return computed(shape.embedding, "B", f"token embedding, which llama.cpp keeps on the CPU{copied}")


def _cache(shape: ModelShape, running: Running) -> Figure | None:
    size = cache_bytes(shape, running)
    if size is None:
        return None
    types = f"{running.cache_type_k}/{running.cache_type_v}"
    told = f"{len(shape.blocks)} layers x {running.parallel} x {running.context} tokens, keys/values in {types}"
    windows = sorted({block.attention.window for block in shape.blocks if block.attention and block.attention.window})
    windowed = f"; windows of {', '.join(map(str, windows))} tokens" if windows else ""
    return computed(size, "B", f"{told}{windowed}")


def _buffer(shape: ModelShape, running: Running) -> Figure | None:
    size = buffer_bytes(shape, running)
    if size is None:
        return None
    attention = "flash attention" if running.flash_attention else "no flash attention"
    dimensions = f"width {shape.embedding_length}, ffn {shape.feed_forward_length}, vocabulary {shape.vocabulary}"
    return computed(size, "B", f"largest step of a batch of {running.batch} tokens: {dimensions}, {attention}")
