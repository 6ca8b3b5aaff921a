"""Image and video models as pipelines: text encoders, one or more transformers, a VAE, each on the GPU in its turn.

ComfyUI moves a part to the GPU when its turn comes and back to main memory afterwards. So the GPU has to hold the
largest part, and what a step works with in addition; main memory has to hold all of them. What a step works with grows
with pixels and frames, and no header says it: it is unknown except where a whole run was reported.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from corral.figures import Figure, Origin, computed
from corral.hardware.fit.memory import CUDA_CONTEXT
from corral.hardware.fit.precisions import Precision, find_gguf_precision, find_scheme
from corral.hardware.fit.published import split_words
from corral.hardware.fit.splitting import CandidateGpu
from corral.units import Bytes, format_bytes

_TABLE = "pipelines.toml"
_BREAKS = re.compile(r"[-_./\s]+")
_SAFETENSORS_NAMES: Mapping[str, str] = MappingProxyType({"F16": "FP16", "F32": "FP32"})
"""llama.cpp's words for 16 and 32 bits, as files of safetensors are named."""
_GB = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """A whole run that was reported."""

    gigabytes: float
    """10^9 bytes on the GPU, or the size of the GPU on which it ran."""
    run: str
    """Resolution, frames, precision."""
    source: str
    swapped: bool = False
    """Whether blocks or parts waited in main memory while others computed."""
    at_once: bool = False
    """Whether all parts were on the GPU together."""

    @property
    def size(self) -> Bytes:
        """The same in bytes."""
        return Bytes(round(self.gigabytes * _GB))


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePart:
    """A part that is on the GPU in one turn."""

    name: str
    size: Figure


_ENCODER = "text encoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A model whose parts take turns."""

    name: str
    id: str
    """The published model."""
    medium: str
    """`image` or `video`."""
    precision: str
    """Of the transformers."""
    parts: tuple[PipelinePart, ...]
    measured: tuple[MeasuredRun, ...]

    @property
    def largest(self) -> PipelinePart:
        """The part that decides which GPU is too small: a text encoder that has no room is computed on the processor
        (ComfyUI's `comfy/model_management.py`, `text_encoder_initial_device`)."""
        return max((part for part in self.parts if part.name != _ENCODER), key=lambda part: part.size.value)

    @property
    def least_vram(self) -> Figure:
        """Bytes that a GPU must have: the largest part and the CUDA context, without what a step works with."""
        part = self.largest
        formula = f"{format_bytes(round(part.size.value))} {part.name} + {format_bytes(round(CUDA_CONTEXT.value))}"
        return computed(part.size.value + CUDA_CONTEXT.value, "B", f"{formula} of CUDA context")

    @property
    def needed_vram(self) -> Figure:
        """Bytes to plan with: the smallest reported run in turns, else the least that it takes."""
        runs = [run for run in self.measured if not run.swapped and not run.at_once]
        if not runs:
            return self.least_vram
        run = min(runs, key=lambda run: run.size)
        return Figure(value=run.size, unit="B", origin=Origin.DECLARED, source=f"{run.run} ({run.source})")

    @property
    def main_memory(self) -> Figure:
        """Bytes that all parts take in main memory between their turns."""
        terms = " + ".join(f"{format_bytes(round(part.size.value))} {part.name}" for part in self.parts)
        return computed(sum(part.size.value for part in self.parts), "B", terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineVerdict:
    """Whether a GPU can run a pipeline."""

    card: CandidateGpu
    fits: bool | None
    """None is unknown: the largest part fits, and what a step works with is not known to."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A row of the table; sizes in bytes."""

    id: str
    medium: str
    names: Sequence[str]
    encoders: Sequence[int]
    transformers: Sequence[int]
    vae: int
    precision: str
    source: str
    millions: int | None = None
    measured: Sequence[dict[str, Any]] = ()  # Any: TOML


@lru_cache(maxsize=1)
def _list_rows() -> tuple[_Row, ...]:
    table = tomllib.loads(files("corral.hardware.fit").joinpath(_TABLE).read_text(encoding="utf-8"))
    return tuple(_Row(**row) for row in table["models"])


def list_pipeline_names() -> tuple[str, ...]:
    """List the published models of the table."""
    return tuple(row.id for row in _list_rows())


def find_pipeline(name: str) -> Pipeline | None:
    """Find the pipeline that a name means, also that of a file (`wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors`).

    None when the table has none, or not in the precision that the name says.
    """
    words = split_words(name.rpartition("/")[2])
    best, longest = None, 0
    for row in _list_rows():
        for phrase in map(split_words, row.names):
            if len(phrase) > longest and _has_in_order(words, phrase):
                best, longest = row, len(phrase)
    return None if best is None else _make_pipeline(name, best)


def _has_in_order(words: Sequence[str], phrase: Sequence[str]) -> bool:
    """Return whether a name begins with a family's word and has the others later, in this order."""
    if phrase[0] not in words[:2]:
        return False
    rest = iter(words)
    return all(word in rest for word in phrase)


def _make_pipeline(name: str, row: _Row) -> Pipeline | None:
    asked = _find_precision(name)
    if asked is not None and asked.name != row.precision and row.millions is None:
        return None
    precision = asked.name if asked else row.precision
    count = len(row.transformers)
    sizes = [_scale(size, row, asked) for size in row.transformers]
    transformers = [
        PipelinePart(name="transformer" if count == 1 else f"transformer {index + 1} of {count}", size=size)
        for index, size in enumerate(sizes)
    ]
    encoder = _listed(sum(row.encoders), "those of ComfyUI's template")
    vae = [PipelinePart(name="VAE", size=_listed(row.vae, "that of ComfyUI's template"))] if row.vae else []
    return Pipeline(
        name=name,
        id=row.id,
        medium=row.medium,
        precision=precision,
        parts=(PipelinePart(name=_ENCODER, size=encoder), *transformers, *vae),
        measured=tuple(MeasuredRun(**run) for run in row.measured),
    )


def _find_precision(name: str) -> Precision | None:
    lowered = name.lower()
    said = find_scheme(_BREAKS.sub(" ", lowered)) or find_gguf_precision(lowered)
    return replace(said, name=_SAFETENSORS_NAMES.get(said.name, said.name)) if said else None


def _scale(size: int, row: _Row, asked: Precision | None) -> Figure:
    if asked is None or asked.name == row.precision or row.millions is None:
        return _listed(size, row.source)
    bits = asked.layer_bits
    return computed(row.millions * 1e6 * bits / 8, "B", f"{row.millions} million weights x {bits:.4g} bits")


def _listed(size: int, source: str) -> Figure:
    return Figure(value=size, unit="B", origin=Origin.DECLARED, source=f"size of its files: {source}")


def judge_pipeline(pipeline: Pipeline, card: CandidateGpu) -> PipelineVerdict:
    """Judge a pipeline on one GPU: its parts cannot be split."""
    if card.room is None:
        return PipelineVerdict(card=card, fits=None, reason=f"{card.name}: its memory is unknown")
    least = round(pipeline.least_vram.value)
    if least > card.room:
        reason = f"its {pipeline.largest.name} takes {format_bytes(least)}, {format_bytes(card.room)} usable"
        return PipelineVerdict(card=card, fits=False, reason=f"{reason}: only with blocks in main memory")
    run = next((run for run in pipeline.measured if not run.swapped and run.size <= card.room), None)
    if run is not None:
        return PipelineVerdict(card=card, fits=True, reason=f"{run.gigabytes:g} GB reported: {run.run}")
    larger = next((run for run in pipeline.measured if not run.swapped), None)
    more = f"{larger.gigabytes:g} GB reported: {larger.run}" if larger else "a step's own memory is unknown"
    reason = f"{format_bytes(least)} of {format_bytes(card.room)} for the largest part; {more}"
    return PipelineVerdict(card=card, fits=None, reason=reason)
