"""How many bytes numbers take in the types of ggml, which is what GGUF files and llama.cpp's caches are made of.

Types pack numbers in blocks that share a scale: 32 weights of Q4_0 take 18 bytes. The table is that of the `gguf`
package (`GGML_QUANT_SIZES`), which a test compares it with; importing that package would cost 0.4 s and numpy for one
table.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from corral.errors import CorralError, Kind


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


def bytes_of(type_name: str, numbers: int) -> int:
    """Say how many bytes so many numbers take; a block that is begun counts whole.

    Raises: UnknownTypeError.
    """
    per_block, size = _block(type_name)
    return -(-numbers // per_block) * size


def bits_of(type_name: str) -> float:
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
