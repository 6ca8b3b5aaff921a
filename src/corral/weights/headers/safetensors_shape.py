"""The shape of a model from safetensors headers and the `config.json` next to them.

Tensors are classified by the names that Hugging Face's transformers gives them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from corral.figures import Origin
from corral.hardware.fit.published import Published
from corral.hardware.fit.published_shape import count_state, keeps_cache, make_attention
from corral.hardware.fit.shape import Block, ModelShape, Part, Tensor
from corral.units import Bytes
from corral.weights.headers.safetensors import SafetensorsTensor
from corral.weights.headers.totals import find_usual_type, sum_blocks, sum_part
from corral.weights.headers.transformers_config import Facts, read_dimensions

_BLOCK = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_EMBEDDING = re.compile(r"embed_tokens|wte|word_embeddings|tok_embeddings")
_VISION = re.compile(r"(?:^|\.)(?:visual|vision_\w+|multi_modal_projector|mm_projector|embed_vision|patch_merger)\.")
"""What sees images: encoder and projector."""
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
    facts = Facts(config or {})
    blocks = _make_blocks(read_dimensions(facts), tensors)
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
        vision=sum_part(tensors, Part.VISION),
        is_output_tied=bool(blocks) and not any(_OUTPUT_NAMES.search(tensor.name) for tensor in tensors),
        is_attention_known=bool(blocks) and all(block.attention or block.is_cacheless for block in blocks),
        is_embedding_on_cpu=False,
        embedding_length=facts.read_whole("hidden_size"),
        feed_forward_length=facts.read_whole("moe_intermediate_size", "intermediate_size"),
        vocabulary=facts.read_whole("vocab_size"),
        context_length=facts.read_whole("max_position_embeddings"),
        experts=facts.read_whole("num_local_experts", "num_experts", "n_routed_experts") or 0,
        experts_used=facts.read_whole("num_experts_per_tok") or 0,
        tensors=tensors,
    )


def _make_tensor(entry: SafetensorsTensor) -> Tensor:
    match = None if _VISION.search(entry.name) else _BLOCK.search(entry.name)
    part = Part.BLOCK if match else _find_part(entry.name)
    return Tensor(
        name=entry.name,
        type=entry.type,
        dimensions=tuple(reversed(entry.dimensions)),
        size=Bytes(entry.size),
        part=part,
        block=int(match[1]) if match else None,
        is_expert=".experts." in entry.name,
    )


def _find_part(name: str) -> Part:
    if _VISION.search(name):
        return Part.VISION
    return Part.EMBEDDING if _EMBEDDING.search(name) else Part.OUTPUT


def _make_blocks(model: Published | None, tensors: Sequence[Tensor]) -> tuple[Block, ...]:
    return tuple(
        _make_block(model, layer, weights, experts) for layer, (weights, experts) in sum_blocks(tensors).items()
    )


def _make_block(model: Published | None, layer: int, weights: Bytes, experts: Bytes) -> Block:
    if model is None:
        return Block(weights=weights, expert_weights=experts)
    attention = make_attention(model, layer) if keeps_cache(model, layer) else None
    return Block(
        weights=weights,
        expert_weights=experts,
        attention=attention,
        state_numbers=count_state(model, layer),
        is_cacheless=attention is None,
    )
