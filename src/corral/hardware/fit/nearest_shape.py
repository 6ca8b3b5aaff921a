"""A shape for a model of which only the number of parameters is known: that of a published model of about its size.

The KV cache and the buffers of an unknown 33B model are not known. They are near those of a model that was published
with about as many parameters, and these are reported: origin ASSUMED, with the name of that model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from corral.figures import Origin
from corral.hardware.fit.shape import Attention, Block, ModelShape
from corral.units import Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """Dimensions from a model's `config.json`."""

    name: str
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_length: int
    vocabulary: int
    is_output_tied: bool = False

    @property
    def block_parameters(self) -> int:
        attention = 2 * self.width * self.head_length * (self.heads + self.kv_heads)
        return attention + 3 * self.width * self.feed_forward + 2 * self.width

    @property
    def parameters(self) -> int:
        """All of them; the embedding counts twice where the output has weights of its own."""
        embeddings = self.vocabulary * self.width * (1 if self.is_output_tied else 2)
        return self.layers * self.block_parameters + embeddings + self.width


_LLAMA_VOCABULARY = 128_256
_QWEN_VOCABULARY = 152_064
_PUBLISHED = (
    _Published(
        name="Llama 3.2 1B", layers=16, width=2048, feed_forward=8192, heads=32, kv_heads=8, head_length=64,
        vocabulary=_LLAMA_VOCABULARY, is_output_tied=True,
    ),
    _Published(
        name="Llama 3.2 3B", layers=28, width=3072, feed_forward=8192, heads=24, kv_heads=8, head_length=128,
        vocabulary=_LLAMA_VOCABULARY, is_output_tied=True,
    ),
    _Published(
        name="Llama 3.1 8B", layers=32, width=4096, feed_forward=14_336, heads=32, kv_heads=8, head_length=128,
        vocabulary=_LLAMA_VOCABULARY,
    ),
    _Published(
        name="Qwen2.5 14B", layers=48, width=5120, feed_forward=13_824, heads=40, kv_heads=8, head_length=128,
        vocabulary=_QWEN_VOCABULARY,
    ),
    _Published(
        name="Qwen2.5 32B", layers=64, width=5120, feed_forward=27_648, heads=40, kv_heads=8, head_length=128,
        vocabulary=_QWEN_VOCABULARY,
    ),
    _Published(
        name="Llama 3.1 70B", layers=80, width=8192, feed_forward=28_672, heads=64, kv_heads=8, head_length=128,
        vocabulary=_LLAMA_VOCABULARY,
    ),
)  # fmt: skip


def find_similar_shape(
    name: str, *, parameters: int, bits: float, quantization: str, source: str, is_embedding_on_cpu: bool = True
) -> ModelShape:
    """Make the shape of a model with so many parameters of so many bits each, after the published one nearest in size.

    `source` says where the parameters and the bits come from.
    """
    like = min(_PUBLISHED, key=lambda published: abs(math.log(published.parameters / parameters)))
    whole = parameters * bits / 8
    matrix = whole * like.vocabulary * like.width / like.parameters
    output = 0.0 if like.is_output_tied else matrix
    block = Block(
        weights=Bytes(round((whole - matrix - output) / like.layers)),
        attention=Attention(
            heads=like.heads, kv_heads=like.kv_heads, key_length=like.head_length, value_length=like.head_length
        ),
    )
    return ModelShape(
        name=name,
        origin=Origin.ASSUMED,
        source=f"{source}; layers, heads and vocabulary as in {like.name}, the published model nearest in size",
        architecture=None,
        parameters=parameters,
        quantization=quantization,
        blocks=(block,) * like.layers,
        embedding=Bytes(round(matrix)),
        output=Bytes(round(output)),
        is_output_tied=like.is_output_tied,
        is_embedding_on_cpu=is_embedding_on_cpu,
        embedding_length=like.width,
        feed_forward_length=like.feed_forward,
        vocabulary=like.vocabulary,
    )
