"""A shape for a model of which only the number of parameters is known: that of a published model of about its size.

The KV cache and the buffers of an unknown 33B model are not known. They are near those of a model that was published
with about as many parameters, and these are reported: origin ASSUMED, with the name of that model.

gpt-oss was published in MXFP4; estimates by its name and Q4_K_M would be 1 GB too low. Experts take 4.25 bits per
weight, all other weights 16, in OpenAI's checkpoints and in what Ollama serves. From the dimensions of their
`config.json` this gives 13.8 GB for 20.9B parameters and 65.3 GB for 116.8B; the model's own description (arXiv
2508.10925, table 1) has 12.8 GiB and 60.8 GiB.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from corral.figures import Origin
from corral.hardware.fit.quantizations import count_bits
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


def find_similar_shape(name: str, *, parameters: int, bits: float, quantization: str, source: str) -> ModelShape:
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
        embedding_length=like.width,
        feed_forward_length=like.feed_forward,
        vocabulary=like.vocabulary,
    )


_NAME = re.compile(r"(?:(?:library|openai)/)?gpt-oss(?:-safeguard)?(?:[:-](?P<tag>latest|20b|120b))?")
_WIDTH = 2880
_FEED_FORWARD = 2880
_HEADS, _KV_HEADS, _HEAD_LENGTH = 64, 8, 64
_WINDOW = 128
"""Every second layer looks no further back."""
_VOCABULARY = 201_088
_CONTEXT = 131_072
_EXPERTS_USED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """The differences of the two models."""

    layers: int
    experts: int


_SIZES: Mapping[str, _Size] = MappingProxyType(
    {"20b": _Size(layers=24, experts=32), "120b": _Size(layers=36, experts=128)}
)
_DEFAULT = "20b"
"""What Ollama serves under the plain name."""


def shape_of_gpt_oss(name: str) -> ModelShape | None:
    """Make the shape of gpt-oss as it was published; None for other models, and for other quantizations of it."""
    match = _NAME.fullmatch(name.strip().lower())
    if match is None:
        return None
    tag = match["tag"] or _DEFAULT
    size = _SIZES.get(tag, _SIZES[_DEFAULT])
    expert_weights = size.experts * 3 * _WIDTH * _FEED_FORWARD
    others = 2 * _WIDTH * _HEAD_LENGTH * (_HEADS + _KV_HEADS) + size.experts * (4 * _WIDTH + 2 * _FEED_FORWARD)
    matrix = _VOCABULARY * _WIDTH
    experts_size = _count_bytes(expert_weights, "MXFP4")
    return ModelShape(
        name=name,
        origin=Origin.ASSUMED,
        source="gpt-oss as OpenAI published it: dimensions of its config.json, experts in MXFP4 (4.25 bits per "
        "weight), the rest in BF16",
        architecture="gpt-oss",
        parameters=size.layers * (expert_weights + others) + 2 * matrix,
        quantization="MXFP4",
        blocks=tuple(
            Block(
                weights=Bytes(experts_size + _count_bytes(others, "BF16")),
                expert_weights=experts_size,
                attention=Attention(
                    heads=_HEADS,
                    kv_heads=_KV_HEADS,
                    key_length=_HEAD_LENGTH,
                    value_length=_HEAD_LENGTH,
                    window=_WINDOW if layer % 2 == 0 else None,
                ),
            )
            for layer in range(size.layers)
        ),
        embedding=_count_bytes(matrix, "BF16"),
        output=_count_bytes(matrix, "BF16"),
        embedding_length=_WIDTH,
        feed_forward_length=_FEED_FORWARD,
        vocabulary=_VOCABULARY,
        context_length=_CONTEXT,
        experts=size.experts,
        experts_used=_EXPERTS_USED,
    )


def _count_bytes(numbers: int, type_name: str) -> Bytes:
    return Bytes(round(numbers * count_bits(type_name) / 8))
