"""The size of a model's weights in a precision: bits for experts, other layers, the embedding and the output.

llama.cpp's quantizations are mixes: their bits were measured over all of Llama 3.1 8B (`quantizations`), where the
token embedding and the output are 6.5 % of the weights each. Both have types of their own (llama_tensor_get_type,
src/llama-quant.cpp), so what is left for the layers follows, and models with another share of vocabulary come out
right: Gemma 3 4B, of which the embedding is a sixth, takes 5.1 bits per weight where Llama takes 4.9.

Repositories of Hugging Face hold 16 bits unless their name says otherwise, and quantize the layers alone: the embedding
and the output stay in 16 bits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from corral.hardware.fit.quantizations import count_bits, find_quantization, get_bits_per_weight


class Scheme(StrEnum):
    """How a checkpoint of Hugging Face is quantized, as its engine knows it."""

    AWQ = "AWQ"
    GPTQ = "GPTQ"
    FP8 = "FP8"
    INT8 = "INT8"
    INT4 = "INT4"
    BITSANDBYTES = "bitsandbytes"
    NVFP4 = "NVFP4"
    MXFP4 = "MXFP4"
    MLX = "MLX"
    EXL = "EXL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Bits per weight of each part of a model."""

    name: str
    """`Q4_K_M`, `BF16`, `AWQ`."""
    expert_bits: float
    layer_bits: float
    """Of the weights of layers that are not experts."""
    embedding_bits: float
    output_bits: float
    """Of the output; of an embedding that is the output as well, too."""
    source: str
    is_gguf: bool
    """Whether llama.cpp runs it: the embedding stays with the processor."""
    scheme: Scheme | None = None


_SAMPLE_WEIGHTS = 8_030_261_248
"""Of Llama 3.1 8B, on which the bits were measured."""
_SAMPLE_EMBEDDING = 128_256 * 4096
_EMBEDDING_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "IQ1_S": "Q2_K", "IQ1_M": "Q2_K", "IQ2_XXS": "Q2_K", "IQ2_XS": "Q2_K", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S",
        "Q2_K_S": "Q2_K", "Q2_K": "Q2_K", "IQ3_XXS": "IQ3_S", "IQ3_XS": "IQ3_S", "IQ3_S": "IQ3_S", "IQ3_M": "IQ3_S",
        "Q3_K_S": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_L": "Q3_K", "IQ4_XS": "IQ4_XS", "IQ4_NL": "IQ4_NL", "Q4_0": "Q4_0",
        "Q4_1": "Q4_1", "Q4_K_S": "Q4_K", "Q4_K_M": "Q4_K", "Q5_0": "Q5_0", "Q5_1": "Q5_1", "Q5_K_S": "Q5_K",
        "Q5_K_M": "Q5_K", "Q6_K": "Q6_K", "Q8_0": "Q8_0", "F16": "F16", "BF16": "BF16", "F32": "F32",
    }
)  # fmt: skip
_SMALL_OUTPUTS = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS"})
_OUTPUTS_AS_EMBEDDING = frozenset({"Q8_0", "F16", "BF16", "F32"})
_MXFP4_SOURCE = "experts in MXFP4 (4.25 bits per weight), the rest in BF16"


def make_gguf_precision(quantization: str) -> Precision:
    """Make the precision of one of llama.cpp's quantizations. Raises: KeyError for one that is not known."""
    if quantization == Scheme.MXFP4:
        return _make_mxfp4(is_gguf=True)
    whole, source = get_bits_per_weight(quantization)
    embedding = count_bits(_EMBEDDING_TYPES[quantization])
    output = _find_output_bits(quantization, embedding)
    layers = (whole * _SAMPLE_WEIGHTS - (embedding + output) * _SAMPLE_EMBEDDING) / (
        _SAMPLE_WEIGHTS - 2 * _SAMPLE_EMBEDDING
    )
    return Precision(
        name=quantization,
        expert_bits=layers,
        layer_bits=layers,
        embedding_bits=embedding,
        output_bits=output,
        source=f"{whole} bits per weight ({source})",
        is_gguf=True,
    )


def _find_output_bits(quantization: str, embedding: float) -> float:
    if quantization in _OUTPUTS_AS_EMBEDDING:
        return embedding
    return count_bits("Q5_K" if quantization in _SMALL_OUTPUTS else "Q6_K")


def _make_mxfp4(*, is_gguf: bool) -> Precision:
    return Precision(
        name=Scheme.MXFP4,
        expert_bits=count_bits("MXFP4"),
        layer_bits=16,
        embedding_bits=16,
        output_bits=16,
        source=_MXFP4_SOURCE,
        is_gguf=is_gguf,
        scheme=Scheme.MXFP4,
    )


_GROUP = 128
"""Weights that share a scale, and a zero of 4 bits, in nearly all AWQ and GPTQ checkpoints."""
_FOUR_BITS = 4 + (16 + 4) / _GROUP
_SCHEMES: tuple[tuple[re.Pattern[str], Scheme, float, str], ...] = (
    (re.compile(r"\bnvfp4|\bfp4\b"), Scheme.NVFP4, 4.5, "16 weights of 4 bits share a scale of 8"),
    (re.compile(r"\bmxfp4\b"), Scheme.MXFP4, 4.25, _MXFP4_SOURCE),
    (re.compile(r"\b(?:bnb|nf4|bitsandbytes)\b"), Scheme.BITSANDBYTES, 4.127, "NF4 with doubly quantized scales"),
    (re.compile(r"\bgptq\b.*\b(?:int8|8bit|w8a16)\b"), Scheme.GPTQ, 8 + (16 + 8) / _GROUP, "groups of 128 weights"),
    (re.compile(r"\b(?:gptq|autoround)\b"), Scheme.GPTQ, _FOUR_BITS, "groups of 128 weights"),
    (re.compile(r"\bawq\b"), Scheme.AWQ, _FOUR_BITS, "groups of 128 weights"),
    (re.compile(r"\b(?:w4a16|quantized w4a16|int4)\b"), Scheme.INT4, 4 + 16 / _GROUP, "groups of 128 weights"),
    (re.compile(r"\bfp8\b|\bw8a8 fp8\b"), Scheme.FP8, 8.0, "a byte for each weight of the layers"),
    (re.compile(r"\b(?:w8a8|w8a16|int8)\b"), Scheme.INT8, 8.0, "a byte for each weight of the layers"),
)
"""A word of a repository's name, its scheme, and bits per weight of the layers with their scales."""
REPOSITORY_BITS: tuple[tuple[str, float, str], ...] = (
    ("AWQ or GPTQ", _FOUR_BITS, f"layers at {_FOUR_BITS:.4g} bits (groups of 128 weights), the rest as it is"),
    ("FP8", 8.0, "layers at 8 bits, the rest as it is"),
)
"""In which other precisions repositories hold a model."""
_MLX = re.compile(r"(?:^mlx community/.*|\bmlx\b.*)\b(\d)bit\b")
_BITS_PER_WEIGHT = re.compile(r"\bexl[23]\b.*?\b(\d+(?:\.\d+)?)\s?bpw\b")
_PLAIN = "BF16"


def find_scheme(name: str) -> Precision | None:
    """Find the scheme that a repository's name says; None when it says none.

    `name` is in lower case, its separators are spaces: `qwen/qwen3 30b a3b gptq int4`.
    """
    matched = _MLX.search(name)
    if matched:
        bits = int(matched[1]) + 0.5
        return _make_even(f"MLX {matched[1]} bits", bits, Scheme.MLX, f"{bits} bits per weight with scales of MLX")
    matched = _BITS_PER_WEIGHT.search(name)
    if matched:
        return _make_even(f"EXL {matched[1]} bits", float(matched[1]), Scheme.EXL, f"{matched[1]} bits by the name")
    for pattern, scheme, bits, source in _SCHEMES:
        if pattern.search(name):
            return _make_mxfp4(is_gguf=False) if scheme is Scheme.MXFP4 else make_scheme(scheme, bits, source)
    return None


def make_scheme(scheme: Scheme, bits: float, source: str) -> Precision:
    """Make the precision of a checkpoint whose layers are quantized and whose embedding and output are not."""
    return Precision(
        name=scheme,
        expert_bits=bits,
        layer_bits=bits,
        embedding_bits=16,
        output_bits=16,
        source=f"layers at {bits:.4g} bits per weight ({source}), embedding and output at 16",
        is_gguf=False,
        scheme=scheme,
    )


def make_published_precision(published: str | None) -> Precision:
    """Make the precision in which a repository without a word for it was published: 16 bits, unless it is native."""
    if published == Scheme.MXFP4:
        return _make_mxfp4(is_gguf=False)
    if published == Scheme.FP8:
        return make_scheme(Scheme.FP8, 8.0, "published so")
    if published == Scheme.INT4:
        return _make_native_int4()
    return Precision(
        name=_PLAIN,
        expert_bits=16,
        layer_bits=16,
        embedding_bits=16,
        output_bits=16,
        source="16 bits: a repository of Hugging Face whose name says no other",
        is_gguf=False,
    )


_NATIVE_GROUP = 32
"""Weights that share a scale of 16 bits in the experts of Kimi K2 Thinking and later, whose other weights are in 16."""


def _make_native_int4() -> Precision:
    bits = 4 + 16 / _NATIVE_GROUP
    return Precision(
        name=Scheme.INT4,
        expert_bits=bits,
        layer_bits=16,
        embedding_bits=16,
        output_bits=16,
        source=f"experts at {bits:g} bits per weight, the rest at 16",
        is_gguf=False,
        scheme=Scheme.INT4,
    )


def _make_even(name: str, bits: float, scheme: Scheme, source: str) -> Precision:
    return Precision(
        name=name,
        expert_bits=bits,
        layer_bits=bits,
        embedding_bits=bits,
        output_bits=bits,
        source=source,
        is_gguf=False,
        scheme=scheme,
    )


def find_gguf_precision(name: str) -> Precision | None:
    """Find the quantization of llama.cpp that a name in lower case says; None when it says none."""
    quantization = find_quantization(name)
    return None if quantization is None else make_gguf_precision(quantization)
