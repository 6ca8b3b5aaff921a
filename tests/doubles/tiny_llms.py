"""GGUF files of some megabytes in real architectures: the weights are noise, everything that says sizes is real.

They stand for models that people download. llama.cpp loads them, which is how they were checked: the tensors that an
architecture needs, their shapes and its metadata are those that llama.cpp asks for; it refuses a tensor too few, too
many or of another shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

BYTES_OF_UTF8 = 256
_SPECIAL = ("<unk>", "<s>", "</s>")


@dataclass(frozen=True, kw_only=True)
class TinyLlm:
    """What to make; sizes are multiples of 32, so that Q8_0 rows are whole."""

    architecture: str = "llama"
    layers: int = 4
    width: int = 256
    feed_forward: int = 768
    heads: int = 8
    kv_heads: int = 2
    head_length: int = 32
    vocabulary: int = 1024
    context: int = 8192
    window: int | None = None
    experts: int = 0
    experts_used: int = 0
    has_output: bool = True
    type: GGMLQuantizationType = GGMLQuantizationType.F16
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])  # Any: whatever GGUF holds


LLAMA = TinyLlm()
QWEN2 = TinyLlm(architecture="qwen2", has_output=False, kv_heads=4, type=GGMLQuantizationType.Q8_0)
QWEN3 = TinyLlm(architecture="qwen3", head_length=64, heads=4, kv_heads=2)
GEMMA2 = TinyLlm(architecture="gemma2", has_output=False, window=512, kv_heads=4)
GEMMA3 = TinyLlm(architecture="gemma3", has_output=False, window=512, layers=8, kv_heads=1, head_length=64, heads=4)
MIXTRAL = TinyLlm(experts=8, experts_used=2, feed_forward=512)
QWEN3_MOE = TinyLlm(architecture="qwen3moe", experts=16, experts_used=4, feed_forward=128)
MAMBA = TinyLlm(architecture="mamba", has_output=False, heads=0, kv_heads=0)
ALL: Mapping[str, TinyLlm] = {
    "llama": LLAMA,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "mixtral": MIXTRAL,
    "qwen3moe": QWEN3_MOE,
    "mamba": MAMBA,
}


def write_llm(path: Path, llm: TinyLlm) -> Path:
    """Write the file and return its path."""
    writer = GGUFWriter(path, llm.architecture)
    _write_metadata(writer, llm)
    _write_tokenizer(writer, llm.vocabulary)
    noise = np.random.default_rng(7)
    for name, shape in _tensors(llm):
        weights = (noise.standard_normal(shape) * 0.02).astype(np.float32)
        if len(shape) > 1 and "norm" not in name and not name.endswith(("ssm_a", "ssm_conv1d.weight")):
            is_small = shape[-1] % 32 != 0  # such rows are no whole blocks; converters keep them as they are
            kind = GGMLQuantizationType.F16 if is_small else llm.type
            writer.add_tensor(name, quantize(weights, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_metadata(writer: GGUFWriter, llm: TinyLlm) -> None:
    writer.add_block_count(llm.layers)
    writer.add_context_length(llm.context)
    writer.add_embedding_length(llm.width)
    writer.add_feed_forward_length(llm.feed_forward if llm.architecture != "mamba" else 0)
    writer.add_head_count(llm.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(llm.vocabulary)
    if llm.architecture == "mamba":
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(2 * llm.width)
        writer.add_ssm_state_size(16)
        writer.add_ssm_time_step_rank(16)
    else:
        writer.add_head_count_kv(llm.kv_heads)
        writer.add_key_length(llm.head_length)
        writer.add_value_length(llm.head_length)
        writer.add_rope_dimension_count(llm.head_length)
    if llm.window is not None:
        writer.add_sliding_window(llm.window)
    if llm.experts:
        writer.add_expert_count(llm.experts)
        writer.add_expert_used_count(llm.experts_used)
        writer.add_expert_feed_forward_length(llm.feed_forward)


def _write_tokenizer(writer: GGUFWriter, vocabulary: int) -> None:
    tokens = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(BYTES_OF_UTF8))]
    types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * BYTES_OF_UTF8]
    while len(tokens) < vocabulary:
        tokens.append(f"▁w{len(tokens)}")
        types.append(TokenType.NORMAL)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def _tensors(llm: TinyLlm) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "token_embd.weight", (llm.vocabulary, llm.width)
    yield "output_norm.weight", (llm.width,)
    if llm.has_output:
        yield "output.weight", (llm.vocabulary, llm.width)
    for layer in range(llm.layers):
        parts = _mamba(llm) if llm.architecture == "mamba" else (*_attention(llm), *_feed_forward(llm))
        for name, shape in parts:
            yield f"blk.{layer}.{name}", shape


def _attention(llm: TinyLlm) -> Iterator[tuple[str, tuple[int, ...]]]:
    queries, keys = llm.heads * llm.head_length, llm.kv_heads * llm.head_length
    yield "attn_norm.weight", (llm.width,)
    yield "attn_q.weight", (queries, llm.width)
    yield "attn_k.weight", (keys, llm.width)
    yield "attn_v.weight", (keys, llm.width)
    yield "attn_output.weight", (llm.width, queries)
    if llm.architecture == "qwen2":
        yield "attn_q.bias", (queries,)
        yield "attn_k.bias", (keys,)
        yield "attn_v.bias", (keys,)
    if llm.architecture in ("qwen3", "qwen3moe", "gemma3"):
        yield "attn_q_norm.weight", (llm.head_length,)
        yield "attn_k_norm.weight", (llm.head_length,)
    if llm.architecture in ("gemma2", "gemma3"):
        yield "post_attention_norm.weight", (llm.width,)


def _feed_forward(llm: TinyLlm) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "ffn_norm.weight", (llm.width,)
    if llm.architecture in ("gemma2", "gemma3"):
        yield "post_ffw_norm.weight", (llm.width,)
    if llm.experts:
        yield "ffn_gate_inp.weight", (llm.experts, llm.width)
        yield "ffn_gate_exps.weight", (llm.experts, llm.feed_forward, llm.width)
        yield "ffn_up_exps.weight", (llm.experts, llm.feed_forward, llm.width)
        yield "ffn_down_exps.weight", (llm.experts, llm.width, llm.feed_forward)
    else:
        yield "ffn_gate.weight", (llm.feed_forward, llm.width)
        yield "ffn_up.weight", (llm.feed_forward, llm.width)
        yield "ffn_down.weight", (llm.width, llm.feed_forward)


def _mamba(llm: TinyLlm) -> Iterator[tuple[str, tuple[int, ...]]]:
    inner, state, rank = 2 * llm.width, 16, 16
    yield "attn_norm.weight", (llm.width,)
    yield "ssm_in.weight", (2 * inner, llm.width)
    yield "ssm_conv1d.weight", (inner, 4)
    yield "ssm_conv1d.bias", (inner,)
    yield "ssm_x.weight", (rank + 2 * state, inner)
    yield "ssm_dt.weight", (inner, rank)
    yield "ssm_dt.bias", (inner,)
    yield "ssm_a", (inner, state)
    yield "ssm_d", (inner,)
    yield "ssm_out.weight", (llm.width, inner)
