"""The needs of a model by its name alone, where there is no file to read.

A model that the table of published dimensions has is computed from those (`published`). A plain size (`33b@q4_k_m`)
is estimated as the dense model nearest in size. Any other name is not guessed: whether it is a mixture of experts, or
keeps a cache in a quarter of its layers, is not in its size.

The quantization is what the name says. Without one, a name of Ollama's means what Ollama serves, mostly Q4_K_M; a
repository of Hugging Face, `owner/name`, means the 16 bits (or the native 4 or 8) in which it was published.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from corral.engine_facts import Medium
from corral.engine_kinds import COMFYUI, ENGINES
from corral.figures import Figure, Origin, computed
from corral.hardware.fit.memory import USUAL_CONTEXT, Parts, Running, compute_parts
from corral.hardware.fit.nearest_shape import find_similar_shape
from corral.hardware.fit.pipelines import find_pipeline
from corral.hardware.fit.precisions import (
    Precision,
    find_gguf_precision,
    find_scheme,
    make_gguf_precision,
    make_published_precision,
)
from corral.hardware.fit.profiles import find_profile
from corral.hardware.fit.published import Published, find_published
from corral.hardware.fit.published_shape import make_shape
from corral.hardware.fit.quantizations import find_quantization, get_bits_per_weight
from corral.hardware.fit.shape import ModelShape
from corral.hardware.fit.splitting import count_active_bytes, count_output_bytes
from corral.hardware.pools import Need
from corral.units import format_bytes

TEXT_ENGINES = frozenset(kind.name for kind in ENGINES.values() if kind.medium is Medium.TEXT)
"""Engines whose models llama.cpp runs."""
_USUAL_QUANTIZATION = "Q4_K_M"
"""Ollama's recommendation (docs/api.md, quantization types) and what its library serves under a plain tag."""
_QUANTIZATION_AWARE = "Q4_0"
"""What Ollama serves under a tag with `qat`: trained for this quantization."""
_PLAIN_SIZE = re.compile(r"(\d+(?:\.\d+)?)([mbt])(?:[@:_-].*)?")
_TIMES = {"m": 10**6, "b": 10**9, "t": 10**12}
_FEWEST, _MOST = 10**6, 10**14
"""Parameters of language models: the smallest that Ollama serves has 22M, the largest 10^12."""
_ELSEWHERE = re.compile(r"(?:^|[-:])cloud$")
_REGISTRIES = re.compile(r"^(?:hf:|hf\.co/|huggingface\.co/)")
_LIBRARIES = re.compile(r"^(?:registry\.ollama\.ai/)?(?:library/)?")
_GGUF = re.compile(r"\bgguf\b")
_WORD_BREAKS = re.compile(r"[-_/@:\s]+")
_SIXTEEN_BITS = frozenset({"F16", "BF16", "F32"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelName:
    """A name, taken apart."""

    bare: str
    """Without registry, owner and what follows an `@`."""
    precision: Precision | None
    """None where it says none."""
    is_repository: bool
    """Whether it is a repository of Hugging Face with safetensors, and not of Ollama or with GGUF files."""


def read_name(model: str, *, has_gguf: bool = False) -> ModelName | None:
    """Take a name apart; None for one that runs elsewhere or that asks for a quantization that is not known.

    `has_gguf` says that the engine runs GGUF files alone, so that `owner/name` is not a repository of safetensors.
    """
    name = model.strip().lower()
    if not name or _ELSEWHERE.search(name):
        return None
    has_registry = _REGISTRIES.match(name) is not None
    path, _, asked = _LIBRARIES.sub("", _REGISTRIES.sub("", name)).partition("@")
    said = find_quantization(name)
    if asked and said is None and find_scheme(_space(asked)) is None:
        return None  # `33b@q9` asks for one that is not known; another would be a guess
    is_gguf = has_gguf or _GGUF.search(path) is not None or (has_registry and ":" in path)
    is_owned = "/" in path and ":" not in path
    scheme = None if is_gguf else find_scheme(_space(name))
    return ModelName(
        bare=path.rpartition("/")[2],
        precision=scheme or find_gguf_precision(name),
        is_repository=is_owned and not is_gguf and (said is None or said in _SIXTEEN_BITS),
    )


def _space(name: str) -> str:
    return _WORD_BREAKS.sub(" ", name)


def estimate_shape(model: str, *, engine: str | None = None) -> ModelShape | None:
    """Make the shape of a model from its name; None when there is nothing to go by.

    `engine` decides what `owner/name` is: Ollama's and llama.cpp's are GGUF files, others' are safetensors.
    """
    named = read_name(model, has_gguf=engine in TEXT_ENGINES)
    if named is None:
        return None
    published = find_published(named.bare, is_repository=named.is_repository)
    if published is None:
        return _estimate_plain_size(model, named)
    precision, reason = _choose_precision(named, published)
    return make_shape(published, precision, name=model, reason=reason)


def find_model(model: str) -> Published | None:
    """Find the published model that a repository's name means; None when it is not known."""
    named = read_name(model)
    return None if named is None else find_published(named.bare, is_repository=named.is_repository)


def _choose_precision(named: ModelName, published: Published) -> tuple[Precision, str]:
    if named.is_repository and (named.precision is None or named.precision.is_gguf):
        return make_published_precision(published.published), "as its repository has it"
    if named.precision is not None:
        return named.precision, "by its name"
    if published.served is None and "qat" in named.bare:
        return make_gguf_precision(_QUANTIZATION_AWARE), "as Ollama serves it"
    return make_gguf_precision(published.served or _USUAL_QUANTIZATION), "as Ollama serves it"


def _estimate_plain_size(model: str, named: ModelName) -> ModelShape | None:
    """Estimate a model of which only its size is said: as a dense one of that size."""
    match = _PLAIN_SIZE.fullmatch(named.bare)
    if match is None:
        return None
    parameters = float(match[1]) * _TIMES[match[2]]
    if not _FEWEST <= parameters <= _MOST or (named.precision is not None and not named.precision.is_gguf):
        return None
    quantization = named.precision.name if named.precision else _USUAL_QUANTIZATION
    bits, source = get_bits_per_weight(quantization)
    reason = "its name" if named.precision else "Ollama's usual quantization"
    return find_similar_shape(
        model,
        parameters=round(parameters),
        bits=bits,
        quantization=quantization,
        source=f"{match[1]}{match[2].upper()} parameters by the name, {quantization} by {reason},"
        f" {bits} bits per weight ({source})",
        is_embedding_on_cpu=quantization not in _SIXTEEN_BITS,
    )


def estimate_need(
    engine: str,
    model: str,
    *,
    shape: ModelShape | None = None,
    context: int | None = None,
    parallel: int = 1,
) -> Need | None:
    """Say what a loaded model takes in VRAM; None where nothing is known about it.

    With a shape it is computed from that; without, it is estimated from the name. `context` is in tokens for each of
    the parallel sequences, 4096 unless given.
    """
    if engine not in TEXT_ENGINES:
        return _make_declared_need(engine, model)
    known = shape or estimate_shape(model, engine=engine)
    if known is None:
        return None
    running = Running(
        context=context or USUAL_CONTEXT, parallel=parallel, scores_whole_batch=_is_of_unknown_build(engine)
    )
    parts = compute_parts(known, running)
    return Need(
        engine=engine,
        model=model,
        divisible=_sum_divisible(known, parts, running),
        floor=_make_floor(parts),
        read=_sum_read(known),
    )


def _is_of_unknown_build(engine: str) -> bool:
    """Whether its llama.cpp can be an older one, of another program: the larger compute buffer is used for it."""
    return ENGINES[engine].remote


def _make_declared_need(engine: str, model: str) -> Need | None:
    pipeline = find_pipeline(model) if engine == COMFYUI.name else None
    if pipeline is not None:
        on_top = Figure(value=0, unit="B", origin=Origin.DECLARED, source="a step's own memory is unknown, not counted")
        return Need(engine=engine, model=model, divisible=pipeline.needed_vram, floor=on_top, splits=False)
    profile = find_profile(model)
    if profile is None or engine not in profile.engines:
        return None
    included = Figure(value=0, unit="B", origin=profile.memory.origin, source="included in what the profile declares")
    return Need(engine=engine, model=model, divisible=profile.memory, floor=included, splits=False)


def _sum_divisible(shape: ModelShape, parts: Parts, running: Running) -> Figure:
    seeing = f" + {_describe(parts.vision)} image encoder" if parts.vision.value else ""
    kept = "KV cache unknown, not counted" if parts.cache is None else f"{_describe(parts.cache)} KV cache"
    tokens = f"{running.parallel} x {running.context} tokens"
    formula = f"{_describe(parts.weights)} weights{seeing} + {kept} for {tokens} ({shape.origin.value}: {shape.source})"
    return computed(parts.divisible + parts.vision.value, "B", formula)


def _sum_read(shape: ModelShape) -> Figure:
    size = sum(count_active_bytes(block, shape) for block in shape.blocks) + count_output_bytes(shape)
    used = f" with {shape.experts_used} of {shape.experts} experts" if shape.is_mixture else ""
    return computed(size, "B", f"weights that a token uses{used}, with an empty cache")


def _make_floor(parts: Parts) -> Figure:
    kept = (
        "compute buffer unknown, not counted" if parts.buffer is None else f"{_describe(parts.buffer)} compute buffer"
    )
    return computed(parts.floor, "B", f"{_describe(parts.context)} CUDA context + {kept}")


def _describe(figure: Figure) -> str:
    return format_bytes(round(figure.value))
