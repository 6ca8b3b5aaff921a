"""The shape of a model from its published dimensions and a precision.

Weights are counted matrix by matrix as transformers builds them; norms and biases, less than one in a thousand, are
left out except where experts have biases. The states of recurrent layers are those that llama.cpp keeps (n_embd_r and
n_embd_s, src/llama-hparams.cpp).
"""

from __future__ import annotations

from corral.figures import Origin
from corral.hardware.fit.precisions import Precision
from corral.hardware.fit.published import LatentAttention, LinearAttention, Mamba, Published
from corral.hardware.fit.shape import Attention, Block, ModelShape
from corral.units import Bytes

_ATTENTION = "FWa"
_STEPLESS = "am"
_VISION_BITS = 16
"""Projectors are published, and served by llama.cpp and Ollama, in 16 bits."""


def make_shape(model: Published, precision: Precision, *, name: str, reason: str) -> ModelShape:
    """Make the shape of a published model; `reason` says why it is thought to have this precision."""
    matrix = model.vocabulary * model.width
    per_layer = model.per_layer * model.vocabulary * model.layers
    embedding_bits = precision.output_bits if model.tied else precision.embedding_bits
    input_only = _size(per_layer, precision.embedding_bits)
    native = f", {precision.name} {reason}" if reason else f", {precision.name}"
    return ModelShape(
        name=name,
        origin=Origin.DECLARED,
        source=f"dimensions of {model.id} (config.json on Hugging Face){native}: {precision.source}",
        architecture=None,
        parameters=count_parameters(model),
        quantization=precision.name,
        blocks=tuple(_make_block(model, precision, layer) for layer in range(model.layers)),
        embedding=Bytes(_size(matrix, embedding_bits) + input_only),
        input_only=input_only,
        output=Bytes(0) if model.tied else _size(matrix, precision.output_bits),
        vision=_size(round(model.vision * 1e9), _VISION_BITS),
        is_output_tied=model.tied,
        is_embedding_on_cpu=precision.is_gguf,
        embedding_length=model.width,
        feed_forward_length=model.ffn,
        vocabulary=model.vocabulary,
        context_length=model.context,
        experts=model.experts,
        experts_used=model.used,
    )


def count_parameters(model: Published) -> int:
    """Count the weights of all parts."""
    layers = sum(sum(_count_weights(model, layer)) for layer in range(model.layers))
    matrices = model.vocabulary * model.width * (1 if model.tied else 2)
    per_layer = model.per_layer * model.vocabulary * model.layers
    return layers + matrices + per_layer + round(model.vision * 1e9)


def _size(numbers: int, bits: float) -> Bytes:
    return Bytes(round(numbers * bits / 8))


def _make_block(model: Published, precision: Precision, layer: int) -> Block:
    others, experts = _count_weights(model, layer)
    expert_size = _size(experts, precision.expert_bits)
    attention = make_attention(model, layer)
    has_own_cache = attention is not None and keeps_cache(model, layer)
    return Block(
        weights=Bytes(_size(others, precision.layer_bits) + expert_size),
        expert_weights=expert_size,
        attention=attention if has_own_cache else None,
        state_numbers=count_state(model, layer),
        is_cacheless=not has_own_cache,
    )


def keeps_cache(model: Published, layer: int) -> bool:
    """Return whether a layer with attention has keys and values of its own."""
    return layer < model.layers - model.shared_kv


def _count_weights(model: Published, layer: int) -> tuple[int, int]:
    """Count the weights of a layer: all but experts, and experts."""
    others = _count_mixer(model, layer) + 2 * model.width * model.per_layer
    if model.find_kind(layer) in _STEPLESS:
        return others, 0
    matrices = 2 if model.ungated else 3
    if not model.has_experts(layer):
        return others + matrices * model.width * (model.dense_ffn or model.ffn), 0
    router = model.width * model.experts
    biases = model.experts * (2 * model.ffn + model.width) if model.bias else 0
    shared = matrices * model.width * model.shared
    return others + router + biases + shared, model.experts * matrices * model.width * model.ffn


def _count_mixer(model: Published, layer: int) -> int:
    """Count the weights that mix tokens: attention, or what replaces it."""
    kind = model.find_kind(layer)
    if kind in _ATTENTION:
        return _count_attention(model, kind)
    if kind == "L" and model.linear:
        return _count_linear(model.linear, model.width)
    if kind in "Mm" and model.mamba:
        return _count_mamba(model.mamba, model.width)
    return 4 * model.width**2 if kind == "C" else 0


def _count_attention(model: Published, kind: str) -> int:
    if model.mla:
        return _count_latent(model.mla, model.width, model.heads)
    full = model.full if kind != "W" else None
    kv_heads, head = (full.kv_heads, full.head) if full else (model.kv_heads, model.head)
    queries = model.width * model.heads * head
    cached = 1 if full and full.values_are_keys else 2
    return queries * (3 if model.gated_query else 2) + cached * model.width * kv_heads * head


def _count_latent(latent: LatentAttention, width: int, heads: int) -> int:
    query = heads * (latent.nope + latent.rope)
    queries = width * latent.q + latent.q * query if latent.q else width * query
    compressed = width * (latent.kv + latent.rope) + latent.kv * heads * (latent.nope + latent.value)
    return queries + compressed + heads * latent.value * width


def _count_linear(linear: LinearAttention, width: int) -> int:
    keys, values = linear.key_heads * linear.head, linear.value_heads * linear.head
    projected = 2 * keys + 2 * values + 2 * linear.value_heads
    return width * projected + (2 * keys + values) * linear.kernel + values * width


def _count_mamba(mamba: Mamba, width: int) -> int:
    convolved = mamba.inner + 2 * mamba.groups * mamba.state
    return width * (mamba.inner + convolved + mamba.heads) + convolved * mamba.kernel + mamba.inner * width


def count_state(model: Published, layer: int) -> int:
    """Count the 32-bit numbers that a layer keeps for each sequence; 0 where it keeps a cache."""
    kind = model.find_kind(layer)
    if kind == "L" and model.linear:
        keys, values = model.linear.key_heads * model.linear.head, model.linear.value_heads * model.linear.head
        return (model.linear.kernel - 1) * (2 * keys + values) + values * model.linear.head
    if kind in "Mm" and model.mamba:
        convolved = model.mamba.inner + 2 * model.mamba.groups * model.mamba.state
        return (model.mamba.kernel - 1) * convolved + model.mamba.state * model.mamba.inner
    return (model.convolution - 1) * model.width if kind == "C" else 0


def make_attention(model: Published, layer: int) -> Attention | None:
    """Make the attention of a layer; None where it has none."""
    kind = model.find_kind(layer)
    if kind not in _ATTENTION:
        return None
    if model.mla:
        return Attention(
            heads=model.heads,
            kv_heads=1,
            key_length=model.mla.kv + model.mla.rope,
            value_length=model.mla.kv,
            has_values=False,
        )
    full = model.full if kind != "W" else None
    length = full.head if full else model.head
    return Attention(
        heads=model.heads,
        kv_heads=full.kv_heads if full else model.kv_heads,
        key_length=length,
        value_length=length,
        window=model.window if kind == "W" else None,
    )
