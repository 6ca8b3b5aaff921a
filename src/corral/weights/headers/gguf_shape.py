"""The shape of a model from its GGUF header.

Names of metadata and of tensors are those of the `gguf` package (`gguf.constants`); which layers have a window, and
what recurrent layers keep, follows llama.cpp (src/llama-hparams.cpp, src/models/).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from corral.figures import Origin
from corral.hardware.fit.quantizations import count_bytes
from corral.hardware.fit.shape import Attention, Block, ModelShape, Part, Tensor
from corral.units import Bytes
from corral.weights.headers.gguf import GgufHeader, GgufTensor, Value
from corral.weights.headers.totals import find_usual_type, sum_blocks, sum_part

_BLOCK = re.compile(r"blk\.(\d+)\.")
_PER_LAYER = "per_layer_token_embd"
_INPUT_PREFIXES = ("token_embd", "token_types", "position_embd", _PER_LAYER)
_VISION_PREFIXES = ("v.", "a.", "mm.")
"""Encoders of images and sound and their projectors, which Ollama keeps in the model's own file."""
_PERIODS: Mapping[str, int] = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2}
"""Every so many layers one sees all tokens, the others a window (`set_swa_pattern` in llama.cpp's src/models/).

Of other architectures a window in the file counts only with its pattern: llama.cpp ignores it otherwise."""
_RECURRENT = frozenset({"mamba", "mamba2"})
_FILE_TYPES: Mapping[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip
"""`general.file_type`, as `LlamaFileType` of the `gguf` package numbers it; a test compares them."""


def shape_of_gguf(headers: Sequence[GgufHeader], *, name: str, source: str) -> ModelShape:
    """Make the shape of a model from the headers of its file, or of all files of a split one, in order."""
    facts = _Facts(headers[0])
    tensors = tuple(_make_tensor(tensor) for header in headers for tensor in header.tensors)
    blocks = _make_blocks(facts, tensors)
    return ModelShape(
        name=name,
        origin=Origin.MODEL_FILE,
        source=source,
        architecture=facts.architecture,
        parameters=sum(tensor.numbers for tensor in tensors),
        quantization=_FILE_TYPES.get(facts.read_whole_of("general.file_type") or -1) or find_usual_type(tensors),
        blocks=blocks,
        embedding=sum_part(tensors, Part.EMBEDDING),
        output=sum_part(tensors, Part.OUTPUT),
        input_only=Bytes(sum(tensor.size for tensor in tensors if tensor.name.startswith(_PER_LAYER))),
        vision=sum_part(tensors, Part.VISION),
        is_output_tied=not any(tensor.name == "output.weight" for tensor in tensors) and bool(tensors),
        is_attention_known=bool(blocks) and all(block.attention or block.is_cacheless for block in blocks),
        embedding_length=facts.read_whole("embedding_length"),
        feed_forward_length=_find_feed_forward_length(facts),
        vocabulary=facts.read_whole("vocab_size") or facts.lengths.get("tokenizer.ggml.tokens"),
        context_length=facts.read_whole("context_length"),
        experts=facts.read_whole("expert_count") or 0,
        experts_used=facts.read_whole("expert_used_count") or 0,
        tensors=tensors,
    )


class _Facts:
    """Metadata under the architecture's prefix, checked to be of the kind that is asked for."""

    def __init__(self, header: GgufHeader) -> None:
        self._metadata: Mapping[str, Value] = header.metadata
        self.lengths = header.lengths
        architecture = header.metadata.get("general.architecture")
        self.architecture = architecture if isinstance(architecture, str) else None

    def read_value(self, key: str) -> Value | None:
        return self._metadata.get(f"{self.architecture}.{key}")

    def read_whole_of(self, key: str) -> int | None:
        number = self._metadata.get(key)
        return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None

    def read_whole(self, key: str, layer: int | None = None) -> int | None:
        """Read a whole number; for a layer where the file has one for each, else the largest of them."""
        value = self.read_value(key)
        if not isinstance(value, tuple):
            return self.read_whole_of(f"{self.architecture}.{key}")
        numbers = [number for number in value if isinstance(number, int) and number >= 0]
        if layer is None:
            return max(numbers, default=None)
        return numbers[layer] if layer < len(numbers) else None


def _make_tensor(entry: GgufTensor) -> Tensor:
    match = _BLOCK.match(entry.name)
    part = Part.BLOCK if match else _find_part(entry.name)
    numbers = 1
    for dimension in entry.dimensions:
        numbers *= dimension
    return Tensor(
        name=entry.name,
        type=entry.type,
        dimensions=entry.dimensions,
        size=Bytes(count_bytes(entry.type, numbers)),
        part=part,
        block=int(match[1]) if match else None,
        is_expert="_exps." in entry.name,
    )


def _find_part(name: str) -> Part:
    if name.startswith(_VISION_PREFIXES):
        return Part.VISION
    return Part.EMBEDDING if name.startswith(_INPUT_PREFIXES) else Part.OUTPUT


def _make_blocks(facts: _Facts, tensors: Sequence[Tensor]) -> tuple[Block, ...]:
    sizes = sum_blocks(tensors)
    cached = len(sizes) - (facts.read_whole("attention.shared_kv_layers") or 0)
    return tuple(
        Block(
            weights=weights,
            expert_weights=experts,
            attention=_make_attention(facts, layer) if index < cached else None,
            state_numbers=_count_state(facts, layer),
            is_cacheless=index >= cached or _is_recurrent(facts, layer) is True,
        )
        for index, (layer, (weights, experts)) in enumerate(sizes.items())
    )


def _make_attention(facts: _Facts, layer: int) -> Attention | None:
    if _is_recurrent(facts, layer) is not False:
        return None
    heads, width = facts.read_whole("attention.head_count", layer), facts.read_whole("embedding_length")
    if not heads or not width:
        return None
    window = _find_window(facts, layer)
    suffix = "_swa" if window and facts.read_whole("attention.key_length_swa") else ""
    key_length = facts.read_whole(f"attention.key_length{suffix}", layer) or width // heads
    kv_heads = facts.read_whole("attention.head_count_kv", layer)
    return Attention(
        heads=heads,
        kv_heads=heads if kv_heads is None else kv_heads,
        key_length=key_length,
        value_length=facts.read_whole(f"attention.value_length{suffix}", layer) or width // heads,
        window=window,
        has_values=facts.read_whole("attention.key_length_mla") is None,
    )


def _find_window(facts: _Facts, layer: int) -> int | None:
    window = facts.read_whole("attention.sliding_window")
    if not window:
        return None
    pattern = facts.read_value("attention.sliding_window_pattern")
    if isinstance(pattern, tuple):
        return window if pattern and pattern[layer % len(pattern)] else None
    period = pattern if isinstance(pattern, int) else _PERIODS.get(facts.architecture or "")
    if period is None:
        return None
    return window if period == 0 or layer % period < period - 1 else None


def _is_recurrent(facts: _Facts, layer: int) -> bool | None:
    """Whether a layer keeps a state instead of a cache; None when that is unknown."""
    if facts.architecture in _RECURRENT:
        return True
    if facts.read_whole("ssm.state_size") is None and facts.read_whole("wkv.head_size") is None:
        return False
    interval = facts.read_whole("full_attention_interval")
    if interval:
        return (layer + 1) % interval != 0
    kv_heads = facts.read_whole("attention.head_count_kv", layer)
    return (
        None
        if kv_heads is None or not isinstance(facts.read_value("attention.head_count_kv"), tuple)
        else kv_heads == 0
    )


def _count_state(facts: _Facts, layer: int) -> int:
    """Count the numbers of a recurrent layer's states (`n_embd_r` + `n_embd_s`, src/llama-hparams.cpp)."""
    kernel, inner = facts.read_whole("ssm.conv_kernel"), facts.read_whole("ssm.inner_size")
    size, groups = facts.read_whole("ssm.state_size"), facts.read_whole("ssm.group_count") or 0
    if _is_recurrent(facts, layer) is not True or kernel is None or inner is None or size is None:
        return 0
    return max(0, kernel - 1) * (inner + 2 * groups * size) + size * inner


def _find_feed_forward_length(facts: _Facts) -> int | None:
    """The width of one expert where there are experts, else of the whole step."""
    dense = facts.read_whole("feed_forward_length")
    return (facts.read_whole("expert_feed_forward_length") or dense) if facts.read_whole("expert_count") else dense
