"""The shape of a model from safetensors headers and the `config.json` next to them.

Tensors are classified by the names that Hugging Face's transformers gives them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from corral.figures import Origin
from corral.hardware.fit.shape import Attention, Block, ModelShape, Part, Tensor
from corral.units import Bytes
from corral.weights.headers.safetensors import SafetensorsTensor
from corral.weights.headers.totals import find_usual_type, sum_blocks, sum_part

_BLOCK = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_EMBEDDING = re.compile(r"embed_tokens|wte|word_embeddings|tok_embeddings")
_LARGEST = 2**40
"""Of any dimension; JSON has no bound, and arithmetic with floats has."""
_OUTPUT_NAMES = re.compile(r"lm_head|embed_out|(?:^|\.)output\.weight$")


def shape_of_safetensors(
    entries: Sequence[SafetensorsTensor],
    config: Mapping[str, Any] | None,  # Any: JSON
    *,
    name: str,
    source: str,
) -> ModelShape:
    """Make the shape from the tensors of all files of a model, and its configuration where there is one."""
    tensors = tuple(_make_tensor(entry) for entry in entries)
    facts = _Facts(config or {})
    blocks = _make_blocks(facts, tensors)
    return ModelShape(
        name=name,
        origin=Origin.MODEL_FILE,
        source=source,
        architecture=facts.read_text("model_type"),
        parameters=sum(tensor.numbers for tensor in tensors),
        quantization=find_usual_type(tensors),
        blocks=blocks,
        embedding=sum_part(tensors, Part.EMBEDDING),
        output=sum_part(tensors, Part.OUTPUT),
        is_output_tied=bool(blocks) and not any(_OUTPUT_NAMES.search(tensor.name) for tensor in tensors),
        is_attention_known=bool(blocks) and all(block.attention for block in blocks),
        is_embedding_on_cpu=False,
        embedding_length=facts.read_whole("hidden_size"),
        feed_forward_length=facts.read_whole("moe_intermediate_size", "intermediate_size"),
        vocabulary=facts.read_whole("vocab_size"),
        context_length=facts.read_whole("max_position_embeddings"),
        experts=facts.read_whole("num_local_experts", "num_experts", "n_routed_experts") or 0,
        experts_used=facts.read_whole("num_experts_per_tok") or 0,
        tensors=tensors,
    )


class _Facts:
    """The configuration of the language model, which multimodal models keep under `text_config`."""

    def __init__(self, config: Mapping[str, Any]) -> None:  # Any: JSON
        inner = config.get("text_config")
        self._config: dict[str, Any] = {**config, **(inner if isinstance(inner, dict) else {})}

    def read_whole(self, *names: str) -> int | None:
        """Read the first of these that is a whole number a model can have."""
        values = (self._config.get(name) for name in names)
        numbers = (value for value in values if isinstance(value, int) and not isinstance(value, bool))
        return next((number for number in numbers if 0 < number < _LARGEST), None)

    def read_text(self, name: str) -> str | None:
        value = self._config.get(name)
        return value if isinstance(value, str) else None

    def has_window(self, layer: int) -> bool:
        """Whether the configuration names a layer as one with a window (`layer_types` of transformers)."""
        kinds = self._config.get("layer_types")
        listed = cast("list[Any]", kinds) if isinstance(kinds, list) else []
        return layer < len(listed) and listed[layer] == "sliding_attention"


def _make_tensor(entry: SafetensorsTensor) -> Tensor:
    match = _BLOCK.search(entry.name)
    part = Part.BLOCK if match else Part.EMBEDDING if _EMBEDDING.search(entry.name) else Part.OUTPUT
    return Tensor(
        name=entry.name,
        type=entry.type,
        dimensions=tuple(reversed(entry.dimensions)),
        size=Bytes(entry.size),
        part=part,
        block=int(match[1]) if match else None,
        is_expert=".experts." in entry.name,
    )


def _make_blocks(facts: _Facts, tensors: Sequence[Tensor]) -> tuple[Block, ...]:
    return tuple(
        Block(weights=weights, expert_weights=experts, attention=_make_attention(facts, layer))
        for layer, (weights, experts) in sum_blocks(tensors).items()
    )


def _make_attention(facts: _Facts, layer: int) -> Attention | None:
    heads, width = facts.read_whole("num_attention_heads", "n_head"), facts.read_whole("hidden_size", "n_embd")
    if heads is None or width is None:
        return None
    length = facts.read_whole("head_dim") or width // heads
    return Attention(
        heads=heads,
        kv_heads=facts.read_whole("num_key_value_heads") or heads,
        key_length=length,
        value_length=length,
        window=facts.read_whole("sliding_window") if facts.has_window(layer) else None,
    )
