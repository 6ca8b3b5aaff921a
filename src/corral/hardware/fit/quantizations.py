"""The size of weights: bytes by type of ggml, and bits by quantization of llama.cpp on average over a whole model.

Types pack numbers in blocks that share a scale: 32 weights of Q4_0 are 18 bytes. The table is that of the `gguf`
package (`GGML_QUANT_SIZES`), which a test compares it with; importing that package costs 0.4 s and numpy for one table.

A quantization such as Q4_K_M is a mix: most tensors in one type, some in a larger one, so its bits are an average over
a model; models with other proportions differ by a few percent (Llama 3.1 70B comes to 4.83 bits where 8B has 4.89).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from corral.errors import CorralError, Kind

BITS_SOURCE = "llama.cpp tools/quantize/README.md, measured there on Llama 3.1 8B"

BITS: Mapping[str, float] = MappingProxyType(
    {
        "IQ1_S": 2.0042,
        "IQ1_M": 2.1460,
        "IQ2_XXS": 2.3824,
        "IQ2_XS": 2.5882,
        "IQ2_S": 2.7403,
        "IQ2_M": 2.9294,
        "Q2_K_S": 2.9697,
        "Q2_K": 3.1593,
        "IQ3_XXS": 3.2548,
        "IQ3_XS": 3.4977,
        "Q3_K_S": 3.6429,
        "IQ3_S": 3.6606,
        "IQ3_M": 3.7628,
        "Q3_K_L": 4.2979,
        "IQ4_XS": 4.4597,
        "Q4_K_S": 4.6672,
        "IQ4_NL": 4.6818,
        "Q4_K_M": 4.8944,
        "Q5_K_S": 5.5704,
        "Q5_K_M": 5.7036,
        "Q6_K": 6.5633,
        "Q8_0": 8.5008,
        "F16": 16.0005,
    }
)
"""Bits per weight, from the smallest."""

COMPUTED_SOURCE = "computed for Llama 3.1 8B: output in Q6_K, the rest as llama.cpp's llama_tensor_get_type chooses"
COMPUTED_BITS: Mapping[str, float] = MappingProxyType(
    {"Q3_K_M": 3.9960, "Q4_0": 4.6358, "Q4_1": 5.1031, "Q5_0": 5.5704, "Q5_1": 6.0377}
)
"""What `BITS` lacks. The same computation gives 4.8944 for Q4_K_M, which is what was measured."""
PLAIN_SOURCE = "one size for every weight"
PLAIN_BITS: Mapping[str, float] = MappingProxyType({"BF16": 16.0, "F32": 32.0})
_OTHER_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "fp16": "F16",
        "fp32": "F32",
        "mxfp4": "MXFP4",
        "q2_k_xl": "Q2_K",
        "q3_k_xl": "Q3_K_M",
        "q4_k_xl": "Q4_K_M",
        "q5_k_xl": "Q5_K_M",
        "q6_k_xl": "Q6_K",
        "q8_k_xl": "Q8_0",
    }
)
"""As tags of Ollama's library (`llama3:8b-instruct-fp16`) and names of Unsloth's files have it. Unsloth's `XL` mixes
differ from the quantization named here by some 5 %: Qwen3 30B A3B takes 17.7 GB in its UD-Q4_K_XL, 18.6 in Q4_K_M."""


def get_bits_per_weight(quantization: str) -> tuple[float, str]:
    """Say how many bits a weight of a quantization takes, and where that is from. Raises: KeyError."""
    for table, source in ((BITS, BITS_SOURCE), (COMPUTED_BITS, COMPUTED_SOURCE)):
        if quantization in table:
            return table[quantization], source
    return PLAIN_BITS[quantization], PLAIN_SOURCE


def find_quantization(name: str) -> str | None:
    """Find the longest quantization that is a word of its own in a name of lower case."""
    words = {**{known.lower(): known for known in (*BITS, *COMPUTED_BITS, *PLAIN_BITS)}, **_OTHER_WORDS}
    for word in sorted(words, key=len, reverse=True):
        if re.search(rf"(?<![a-z0-9]){word}(?![a-z0-9_])", name):
            return words[word]
    return None


class UnknownTypeError(CorralError):
    """A type of numbers that ggml does not have."""

    code: ClassVar[str] = "fit.unknown_type"
    kind: ClassVar[Kind] = Kind.INVALID


BLOCKS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "F32": (1, 4),
        "F16": (1, 2),
        "BF16": (1, 2),
        "F64": (1, 8),
        "I8": (1, 1),
        "I16": (1, 2),
        "I32": (1, 4),
        "I64": (1, 8),
        "Q1_0": (128, 18),
        "Q4_0": (32, 18),
        "Q4_1": (32, 20),
        "Q5_0": (32, 22),
        "Q5_1": (32, 24),
        "Q8_0": (32, 34),
        "Q8_1": (32, 40),
        "Q2_K": (256, 84),
        "Q3_K": (256, 110),
        "Q4_K": (256, 144),
        "Q5_K": (256, 176),
        "Q6_K": (256, 210),
        "Q8_K": (256, 292),
        "IQ1_S": (256, 50),
        "IQ1_M": (256, 56),
        "IQ2_XXS": (256, 66),
        "IQ2_XS": (256, 74),
        "IQ2_S": (256, 82),
        "IQ3_XXS": (256, 98),
        "IQ3_S": (256, 110),
        "IQ4_NL": (32, 18),
        "IQ4_XS": (256, 136),
        "TQ1_0": (256, 54),
        "TQ2_0": (256, 66),
        "MXFP4": (32, 17),
        "NVFP4": (64, 36),
    }
)
"""Numbers in a block, and bytes that a block takes."""

CACHE_TYPES = ("f16", "bf16", "f32", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
"""What llama.cpp takes as `--cache-type-k` and `--cache-type-v`."""


def count_bytes(type_name: str, numbers: int) -> int:
    """Say how many bytes so many numbers take; a block that is begun counts whole.

    Raises: UnknownTypeError.
    """
    per_block, size = _block(type_name)
    return -(-numbers // per_block) * size


def count_bits(type_name: str) -> float:
    """Say how many bits one number takes, its share of the scale included. Raises: UnknownTypeError."""
    per_block, size = _block(type_name)
    return 8 * size / per_block


def _block(type_name: str) -> tuple[int, int]:
    try:
        return BLOCKS[type_name.upper()]
    except KeyError as error:
        raise UnknownTypeError(
            f"ggml has no type {type_name!r}", hint=f"use one of {', '.join(CACHE_TYPES)}"
        ) from error
