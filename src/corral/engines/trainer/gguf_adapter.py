"""Writes a LoRA as a GGUF adapter, as llama.cpp reads it.

Rows of the query and key projections are in another order in llama.cpp than in transformers, for the architectures
whose rotation of positions it computes on neighbours (its conversion of such models does the same); of an adapter these
are the rows of B.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

_NAME = re.compile(r"(?:base_model\.model\.)?(model\.layers\.\d+\..+)\.lora_(A|B)(?:\.default)?\.weight")
OF_LLAMA = "llama"
"""The architecture, which the engine is named after too."""
ARCHITECTURES = {OF_LLAMA: OF_LLAMA, "mistral": OF_LLAMA, "qwen2": "qwen2", "qwen3": "qwen3", "gemma3_text": "gemma3"}
"""llama.cpp's name of an architecture by its name in transformers, where an adapter's tensors are named alike."""


def permute(rows: Any, heads: int) -> Any:  # Any: NumPy's, which the trainer's own environment has
    """Return rows of a projection in llama.cpp's order: within each head, halves become neighbours."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write_adapter(path: Path, state: Mapping[str, Any], config: Any, *, alpha: float) -> None:
    """Write an adapter; `state` has PEFT's tensors by name, `config` is the base model's. Raises: ValueError."""
    gguf: Any = import_module("gguf")  # Any: in the trainer's own environment alone, as typed as it is
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        raise ValueError(f"adapters of {config.model_type!r} are not written as GGUF")
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], config.num_hidden_layers)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string(gguf.Keys.General.TYPE, gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, value in state.items():
        match = _NAME.fullmatch(name)
        target = names.get_name(match[1]) if match else None
        if match is None or target is None:
            raise ValueError(f"an adapter of {name!r} has no place in a GGUF file of {architecture}")
        projection = match[1].rpartition(".")[2]
        is_permuted = match[2] == "B" and architecture == OF_LLAMA and projection in heads
        tensor = permute(value, heads[projection]) if is_permuted else value
        writer.add_tensor(f"{target}.weight.lora_{match[2].lower()}", tensor.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
