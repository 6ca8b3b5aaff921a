"""The shape of gpt-oss, which was published in MXFP4: estimates by its name and Q4_K_M would be 1 GB too low.

Experts take 4.25 bits per weight, all other weights 16, in OpenAI's checkpoints and in what Ollama serves. From the
dimensions of their `config.json` this gives 13.8 GB for 20.9B parameters and 65.3 GB for 116.8B; the model card
(arXiv 2508.10925, table 1) has 12.8 GiB and 60.8 GiB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from corral.figures import Origin
from corral.hardware.fit.ggml import bits_of
from corral.hardware.fit.shape import Attention, Block, ModelShape
from corral.units import Bytes

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
    """What the two models differ in."""

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
    experts_size = _bytes(expert_weights, "MXFP4")
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
                weights=Bytes(experts_size + _bytes(others, "BF16")),
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
        embedding=_bytes(matrix, "BF16"),
        output=_bytes(matrix, "BF16"),
        embedding_length=_WIDTH,
        feed_forward_length=_FEED_FORWARD,
        vocabulary=_VOCABULARY,
        context_length=_CONTEXT,
        experts=size.experts,
        experts_used=_EXPERTS_USED,
    )


def _bytes(numbers: int, type_name: str) -> Bytes:
    return Bytes(round(numbers * bits_of(type_name) / 8))
