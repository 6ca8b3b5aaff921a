"""A LoRA adapter for the small model, made here: random, and strong enough to change what the model writes.

Its tensors are named and shaped as llama.cpp's `convert_lora_to_gguf.py` writes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter

WIDTH, RANK, LAYERS = 576, 4, 30
"""Of SmolLM2-135M: the length of a token's vector, and its layers."""


def write_adapter(path: Path) -> Path:
    """Write the adapter for the query matrix of each layer."""
    random = np.random.default_rng(7)
    writer = GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    for layer in range(LAYERS):
        for part, shape in (("a", (RANK, WIDTH)), ("b", (WIDTH, RANK))):
            weights = random.normal(0, 0.5, shape).astype(np.float32)
            writer.add_tensor(f"blk.{layer}.attn_q.weight.lora_{part}", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
