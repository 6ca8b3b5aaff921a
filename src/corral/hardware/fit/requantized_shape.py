"""The shape of a model in other quantizations.

Embedding, layers and output have types of their own in each. Where a model is published with experts in MXFP4, its
files in other quantizations keep the experts so (their rows of 2880 weights do not divide into blocks of 256), and only
its own is listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from corral.figures import Origin
from corral.hardware.fit.nearest_shape import find_similar_shape
from corral.hardware.fit.precisions import REPOSITORY_BITS, Scheme, make_gguf_precision
from corral.hardware.fit.quantizations import BITS, BITS_SOURCE
from corral.hardware.fit.shape import Block, ModelShape
from corral.units import Bytes

_SIXTEEN_BITS = "F16"
"""Where a model's own weights are in 16 bits for PyTorch, another program's 16 bits are no smaller choice."""


def list_requantized(shape: ModelShape) -> Iterator[tuple[str, ModelShape, str]]:
    """Yield each other quantization, the model in it, and where its size comes from.

    The quantizations of repositories are listed where the model is in one.
    """
    if shape.quantization == Scheme.MXFP4:
        yield Scheme.MXFP4.value, shape, shape.source
        return
    for name in BITS:
        yield name, *_requantize(shape, name)
    if shape.blocks and not shape.is_embedding_on_cpu:
        for name, bits, source in REPOSITORY_BITS:
            yield name, _scale_layers(shape, bits), source


def _requantize(shape: ModelShape, name: str) -> tuple[ModelShape, str]:
    """Estimate the model in a quantization: each part of its weights in that one's bits."""
    bits = BITS[name]
    formula = f"{shape.parameters / 1e9:.3g}B parameters x {bits:g} bits ({BITS_SOURCE})"
    if not shape.blocks:
        similar = find_similar_shape(
            shape.name, parameters=shape.parameters, bits=bits, quantization=name, source=BITS_SOURCE
        )
        return similar, formula
    if name == shape.quantization and shape.is_embedding_on_cpu:
        return shape, shape.source
    stays = shape.is_embedding_on_cpu or name != _SIXTEEN_BITS
    if shape.origin is Origin.ASSUMED or not shape.vocabulary or not shape.embedding_length:
        return _scale(shape, bits, is_embedding_on_cpu=stays), formula
    return _resize(shape, name, is_embedding_on_cpu=stays), formula


def _resize(shape: ModelShape, name: str, *, is_embedding_on_cpu: bool) -> ModelShape:
    """Give embedding, layers and output the bits that they have in a quantization of llama.cpp's."""
    precision = make_gguf_precision(name)
    matrix = (shape.vocabulary or 0) * (shape.embedding_length or 0)
    per_layer = _count_per_layer(shape)
    outputs = 0 if shape.is_output_tied else matrix
    numbers = shape.parameters - shape.vision // 2 - matrix - per_layer - outputs
    layers = sum(block.weights for block in shape.blocks)
    input_only = _size(per_layer, precision.embedding_bits)
    embedding_bits = precision.output_bits if shape.is_output_tied else precision.embedding_bits
    return replace(
        shape,
        blocks=_scale_blocks(shape, numbers * precision.layer_bits / 8 / layers if layers else 0.0),
        embedding=Bytes(_size(matrix, embedding_bits) + input_only),
        input_only=input_only,
        output=_size(outputs, precision.output_bits),
        is_embedding_on_cpu=is_embedding_on_cpu,
        tensors=(),
    )


def _count_per_layer(shape: ModelShape) -> int:
    """Count the weights of embeddings that layers have of their own."""
    own = shape.quantization
    bits = make_gguf_precision(own).embedding_bits if own is not None and own in BITS else 16
    return round(shape.input_only * 8 / bits)


def _size(numbers: int, bits: float) -> Bytes:
    return Bytes(round(numbers * bits / 8))


def _scale_layers(shape: ModelShape, bits: float) -> ModelShape:
    """Scale the layers of a model in a repository; its embedding and output stay as they are."""
    layers = sum(block.weights for block in shape.blocks)
    numbers = shape.parameters - (shape.weights - layers) // 2
    factor = numbers * bits / 8 / layers if layers else 0.0
    return replace(shape, blocks=_scale_blocks(shape, factor), tensors=())


def _scale_blocks(shape: ModelShape, factor: float) -> tuple[Block, ...]:
    return tuple(
        replace(
            block,
            weights=Bytes(round(block.weights * factor)),
            expert_weights=Bytes(round(block.expert_weights * factor)),
        )
        for block in shape.blocks
    )


def _scale(shape: ModelShape, bits: float, *, is_embedding_on_cpu: bool) -> ModelShape:
    """Scale all but what sees images, which stays in 16 bits."""
    numbers, weights = shape.parameters - shape.vision // 2, shape.weights - shape.vision
    factor = numbers * bits / 8 / weights if weights else 0.0
    embedding, output = Bytes(round(shape.embedding * factor)), Bytes(round(shape.output * factor))
    return replace(
        shape,
        blocks=_scale_blocks(shape, factor),
        embedding=embedding,
        input_only=Bytes(round(shape.input_only * factor)),
        output=output,
        is_embedding_on_cpu=is_embedding_on_cpu,
        tensors=(),
    )
