"""The needs of a model by its name alone, where there is no file to read: clearly an estimate.

Ollama's tags say the number of parameters (`deepseek-r1:70b`), and sometimes the quantization
(`llama3:8b-instruct-q8_0`); its library's usual one is Q4_K_M, except for gpt-oss, which is served as it was published.
A name that says neither its size nor has a default tag that was looked up is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from corral.engine_kinds import ENGINES, Medium
from corral.figures import Figure, computed
from corral.hardware.fit.memory import USUAL_CONTEXT, Parts, Running, compute_parts
from corral.hardware.fit.nearest_shape import find_similar_shape, shape_of_gpt_oss
from corral.hardware.fit.profiles import find_profile
from corral.hardware.fit.quantizations import find_quantization, get_bits_per_weight
from corral.hardware.fit.shape import ModelShape
from corral.hardware.pools import Need
from corral.units import format_bytes

TEXT_ENGINES = frozenset(kind.name for kind in ENGINES.values() if kind.medium is Medium.TEXT)
"""Engines whose models llama.cpp runs."""
_USUAL_QUANTIZATION = "Q4_K_M"
"""Ollama's recommendation (docs/api.md, quantization types) and what its library serves under a plain tag."""
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([mbt])(?![a-z0-9])")
_TIMES = {"m": 10**6, "b": 10**9, "t": 10**12}
_FEWEST, _MOST = 10**6, 10**14
"""Parameters of language models: the smallest that Ollama serves has 22M, the largest 10^12."""
_ELSEWHERE = re.compile(r"(?:^|[-:])cloud$")
_DEFAULTS_SOURCE = "the table of models in Ollama's README"
DEFAULT_TAGS: Mapping[str, str] = MappingProxyType(
    {
        "codellama": "7b",
        "deepseek-r1": "7b",
        "dolphin-phi": "2.7b",
        "gemma3": "4b",
        "granite3.3": "8b",
        "llama2": "7b",
        "llama2-uncensored": "7b",
        "llama3": "8b",
        "llama3.1": "8b",
        "llama3.2": "3b",
        "llama3.2-vision": "11b",
        "llama3.3": "70b",
        "llama4:maverick": "400b",
        "llama4:scout": "109b",
        "llava": "7b",
        "mistral": "7b",
        "neural-chat": "7b",
        "orca-mini": "3b",
        "phi": "2.7b",
        "phi3": "3.8b",
        "phi4": "14b",
        "phi4-mini": "3.8b",
        "qwq": "32b",
        "solar": "10.7b",
        "starling-lm": "7b",
        "vicuna": "7b",
    }
)
"""The size of a name without one, as Ollama's README listed it (commits 371bc73, 8488388 and 66e7380)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSize:
    """The facts in a model's name."""

    parameters: int
    quantization: str
    source: str


def read_name(model: str) -> NamedSize | None:
    """Read parameters and quantization from a name; None when it says no size."""
    name = model.strip().lower()
    if _ELSEWHERE.search(name):
        return None
    quantization = find_quantization(name)
    if quantization is None and "@" in name:
        return None  # `33b@q9` asks for one that is not known; another would be a guess
    origin = "its name" if quantization else "Ollama's usual quantization"
    for text, place in ((name, "the name"), (_default_tag(name), _DEFAULTS_SOURCE)):
        match = _SIZE.search(text)
        if match:
            parameters = float(match[1]) * _TIMES[match[2]]
            if not _FEWEST <= parameters <= _MOST:
                return None
            source = f"{match[0].upper()} parameters by {place}, {quantization or _USUAL_QUANTIZATION} by {origin}"
            return NamedSize(
                parameters=round(parameters), quantization=quantization or _USUAL_QUANTIZATION, source=source
            )
    return None


def estimate_shape(model: str) -> ModelShape | None:
    """Estimate the shape of a model from its name; None when there is nothing to go by."""
    published = shape_of_gpt_oss(model)
    if published is not None:
        return published
    named = read_name(model)
    if named is None:
        return None
    bits, source = get_bits_per_weight(named.quantization)
    return find_similar_shape(
        model,
        parameters=named.parameters,
        bits=bits,
        quantization=named.quantization,
        source=f"{named.source}, {bits} bits per weight ({source})",
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
    known = shape or estimate_shape(model)
    if known is None:
        return None
    running = Running(
        context=context or USUAL_CONTEXT, parallel=parallel, scores_whole_batch=_is_of_unknown_build(engine)
    )
    parts = compute_parts(known, running)
    return Need(engine=engine, model=model, divisible=_sum_divisible(known, parts, running), floor=_make_floor(parts))


def _is_of_unknown_build(engine: str) -> bool:
    """Whether its llama.cpp can be an older one, of another program: the larger compute buffer is used for it."""
    return ENGINES[engine].remote


def _make_declared_need(engine: str, model: str) -> Need | None:
    profile = find_profile(model)
    if profile is None or engine not in profile.engines:
        return None
    included = Figure(value=0, unit="B", origin=profile.memory.origin, source="included in what the profile declares")
    return Need(engine=engine, model=model, divisible=profile.memory, floor=included, splits=False)


def _sum_divisible(shape: ModelShape, parts: Parts, running: Running) -> Figure:
    kept = "KV cache unknown, not counted" if parts.cache is None else f"{_describe(parts.cache)} KV cache"
    tokens = f"{running.parallel} x {running.context} tokens"
    formula = f"{_describe(parts.weights)} weights + {kept} for {tokens} ({shape.origin.value}: {shape.source})"
    return computed(parts.divisible, "B", formula)


def _make_floor(parts: Parts) -> Figure:
    kept = (
        "compute buffer unknown, not counted" if parts.buffer is None else f"{_describe(parts.buffer)} compute buffer"
    )
    return computed(parts.floor, "B", f"{_describe(parts.context)} CUDA context + {kept}")


def _describe(figure: Figure) -> str:
    return format_bytes(round(figure.value))


def _default_tag(name: str) -> str:
    base = name.removesuffix(":latest")
    return DEFAULT_TAGS.get(base, "")
