"""How many bits a weight takes in the quantizations of llama.cpp, on average over a whole model.

A quantization such as Q4_K_M is a mix: most tensors in one type, some in a larger one, so its bits are an average over
a model; models with other proportions differ by a few percent (Llama 3.1 70B comes to 4.83 bits where 8B has 4.89).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

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
