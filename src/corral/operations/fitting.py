"""Finds what a model is, wherever it is stored, and judges it on GPUs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from corral.engine_kinds import LLAMA
from corral.errors import CorralError, Kind, suggest
from corral.figures import Figure, Origin
from corral.hardware.fit.judging import BusCost, Fit, Quantized, judge
from corral.hardware.fit.memory import USUAL_CONTEXT, Parts, Running
from corral.hardware.fit.names import estimate_shape
from corral.hardware.fit.pipelines import (
    MeasuredRun,
    Pipeline,
    PipelinePart,
    PipelineVerdict,
    find_pipeline,
    judge_pipeline,
)
from corral.hardware.fit.profiles import PROFILES, Profile, find_profile
from corral.hardware.fit.shape import ModelShape
from corral.hardware.fit.splitting import SPILLS, CandidateGpu, Verdict
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.fit_cards import Cards, list_gpus, resolve_names
from corral.units import Bytes, format_bytes
from corral.weights.errors import ModelNameError, SourceError
from corral.weights.fetching import Connections
from corral.weights.headers.byte_sources import OnBytes
from corral.weights.headers.reading import shape_here, shape_there
from corral.weights.names import CLOSE, resolve
from corral.weights.store import Store
from corral.weights.values import Entry, HuggingFaceSource, UrlSource

_LOCAL = ("/", "./", "../", "~")
_REMOTE = ("hf:", "http://", "https://")
_FILES = (".gguf", ".safetensors", ".safetensors.index.json")


class NothingKnownError(CorralError):
    """A model that has no file, no profile, and a name that says no size."""

    code: ClassVar[str] = "fit.nothing_known"
    kind: ClassVar[Kind] = Kind.MISSING


class NoRoomError(CorralError):
    """A model that fits on none of the GPUs that were asked about."""

    code: ClassVar[str] = "fit.no_room"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


class MemoryUnknownError(CorralError):
    """GPUs without memory of their own, on machines whose memory is not in the cluster file."""

    code: ClassVar[str] = "fit.memory_unknown"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class FitAsked:
    """A model, how it runs, and the GPUs to judge it on."""

    model: str
    """Of the store, `hf:owner/repo/file`, a URL, a path, an Ollama name (`llama3:8b`), or a size (`33b@q4_k_m`)."""
    context: Annotated[int, Field(ge=1, le=2**24)] = USUAL_CONTEXT
    """Tokens of context, for each sequence."""
    parallel: Annotated[int, Field(ge=1, le=256)] = 1
    """Sequences at the same time."""
    cache_type: str = "f16"
    """Type of the KV cache: `f16`, `q8_0`, `q4_0`."""
    flash_attention: bool = True
    gpus: tuple[str, ...] = ()
    """Names of the catalogue; several are judged as a split too."""
    cluster: FileText | None = None
    """A cluster file, whose GPUs are judged; those of a node together are a split too."""
    layers_on_gpu: Annotated[int, Field(ge=0, le=2**20)] | None = None
    """So many layers go to the GPU, the rest to the processor."""
    experts_on_processor: Annotated[int, Field(ge=0, le=2**20)] | None = None
    """The experts of so many layers stay in main memory: llama.cpp's `--n-cpu-moe`."""
    cpu_bandwidth_gb_s: Annotated[float, Field(ge=0.1, le=10_000)] | None = None
    """Bandwidth of the machine's memory in 10^9 bytes per second."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether the model is a path or an address: reading it uses the rights of the machine that reads."""
        return self.model.startswith((*_LOCAL, *_REMOTE)) or is_file(self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFit:
    """The answer for a model that a profile describes."""

    profile: Profile
    fits: tuple[tuple[CandidateGpu, bool], ...]
    file_size: Bytes | None = None
    """Of the files in the store, where it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFit:
    """The answer for an image or video model whose parts take turns."""

    pipeline: Pipeline
    verdicts: tuple[PipelineVerdict, ...]

    @property
    def fits(self) -> bool | None:
        """Whether one GPU is known to run it; None when that is unknown of all that are not too small."""
        answers = [verdict.fits for verdict in self.verdicts]
        return True if True in answers else None if None in answers or not answers else False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A model that was judged."""

    asked: FitAsked
    cards: Cards
    judged: Fit | ProfileFit | PipelineFit


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where models are looked for."""

    store: Store
    connections: Connections
    on_bytes: OnBytes


async def fit_model(asked: FitAsked, sources: Sources) -> Fitted:
    """Find a model and judge it on the GPUs.

    Raises: UnclearCardsError, ClusterFileError, UnknownTypeError, and what `find_model` raises.
    """
    cards = await asyncio.to_thread(_resolve_gpus, asked)
    model = await find_model(asked.model, sources)
    judged = await asyncio.to_thread(_judge, model, asked, cards, sources)
    return Fitted(asked=asked, cards=cards, judged=judged)


def _resolve_gpus(asked: FitAsked) -> Cards:
    named = resolve_names(asked.gpus)
    listed = Cards() if asked.cluster is None else list_gpus(check_cluster(asked.cluster).cluster)
    return Cards(alone=(*named.alone, *listed.alone), groups=(*named.groups, *listed.groups))


def _judge(
    model: ModelShape | Profile | Pipeline, asked: FitAsked, cards: Cards, sources: Sources
) -> Fit | ProfileFit | PipelineFit:
    if isinstance(model, Pipeline):
        return PipelineFit(pipeline=model, verdicts=tuple(judge_pipeline(model, card) for card in cards.alone))
    if isinstance(model, Profile):
        stored = sources.store.find(asked.model)
        return judge_profile(model, cards, file_size=None if stored is None else stored.size)
    running = Running(
        context=asked.context,
        parallel=asked.parallel,
        cache_type_k=asked.cache_type,
        cache_type_v=asked.cache_type,
        flash_attention=asked.flash_attention,
    )
    return judge(
        model,
        running,
        cards.alone,
        cards.groups,
        processor_gb_s=asked.cpu_bandwidth_gb_s,
        layers_on_gpu=asked.layers_on_gpu,
        experts_on_processor=asked.experts_on_processor,
    )


async def find_model(model: str, sources: Sources) -> ModelShape | Profile | Pipeline:
    """Find what a name means: a file, a model of the store or on the web, a pipeline, a profile, published dimensions.

    Raises: NothingKnownError, HeaderError, SourceError, ModelNameError, ModelMissingError.
    """
    if model.startswith(_LOCAL) or is_file(model):
        return await shape_here(Path(model).expanduser(), name=model)
    entry = _find_entry(model, sources.store)
    if entry is not None and (matching := await _describe_reachable(entry, model, sources)) is not None:
        return matching
    known = find_pipeline(model) or find_profile(model) or estimate_shape(model)
    if known is None:
        names = [name for profile in PROFILES for name in (profile.name, *profile.aliases)]
        raise NothingKnownError(
            f"nothing is known about {model!r}: no file, no profile, and no published dimensions of that name",
            hint=suggest(model, names, cutoff=CLOSE)
            or "name its file or hf:owner/repo/file; `33b@q4_k_m` estimates a dense model of that size",
        )
    return known


def is_file(model: str) -> bool:
    """Return whether a name is that of a file in this folder."""
    return model.endswith(_FILES) and not model.startswith(_REMOTE)


def judge_profile(profile: Profile, cards: Cards, *, file_size: Bytes | None = None) -> ProfileFit:
    """Compare a declared need with each GPU."""
    fits = tuple((card, card.room is not None and profile.memory.value <= card.room) for card in cards.alone)
    return ProfileFit(profile=profile, fits=fits, file_size=file_size)


def require_room(fitted: Fitted) -> None:
    """Refuse a model that none of the GPUs holds, where any were named. Raises: NoRoomError, MemoryUnknownError."""
    cards, answer, model = fitted.cards, fitted.judged, fitted.asked.model
    if not cards.alone:
        return
    if isinstance(answer, PipelineFit):
        has_room, need = answer.fits is not False, round(answer.pipeline.least_vram.value)
    elif isinstance(answer, ProfileFit):
        has_room, need = any(fits for _, fits in answer.fits), round(answer.profile.memory.value)
    else:
        asks_for_spill = fitted.asked.layers_on_gpu is not None or fitted.asked.experts_on_processor is not None
        spilled = asks_for_spill and any(verdict.fits for verdict in answer.verdicts)
        has_room, need = answer.fits or spilled, answer.parts.on_one_gpu
    if has_room:
        return
    known = [card.room for card in cards.alone if card.room is not None]
    smaller = "choose a smaller quantization"
    if not known:
        raise MemoryUnknownError(
            f"whether a GPU holds {model!r} ({format_bytes(need)} on one GPU) is unknown, as its memory is",
            hint="write `memory` of the node, or of its GPU, into the cluster file",
        )
    raise NoRoomError(
        f"no GPU or split holds {model!r} (needs {format_bytes(need)} on one GPU; the largest has "
        f"{format_bytes(max(known))} usable)",
        hint=f"{smaller} or another model"
        if isinstance(answer, ProfileFit | PipelineFit)
        else f"{smaller} or context{_name_spill(answer)}",
    )


def _name_spill(fit: Fit) -> str:
    if not any(verdict.way in SPILLS for verdict in fit.verdicts):
        return ", or split it over more GPUs"
    part = "experts (`--n-cpu-moe`)" if fit.shape.is_mixture else "layers (`--layers-on-gpu`)"
    return f", or let the processor take {part}"


def _find_entry(model: str, store: Store) -> Entry | None:
    try:
        return resolve(model, store.catalogue)
    except ModelNameError:
        if model.startswith(_REMOTE):
            raise
        return None


async def _describe_reachable(entry: Entry, model: str, sources: Sources) -> ModelShape | Profile | None:
    """Describe a model by its header; where that cannot be reached, None when its name says enough."""
    try:
        return await _describe_entry(entry, model, sources)
    except SourceError:
        if estimate_shape(model) is None:
            raise
        return None


async def _describe_entry(entry: Entry, model: str, sources: Sources) -> ModelShape | Profile | None:
    here = sources.store.find(model)
    if here is not None:
        try:
            return await shape_here(here.path, name=here.name)
        except (CorralError, OSError):
            return find_profile(model) or _describe_files(entry, here.size)
    if LLAMA.name not in entry.engines and entry.engines:
        return find_profile(model) or (_describe_files(entry, entry.size) if entry.size else None)
    if any(isinstance(source, HuggingFaceSource | UrlSource) for source in entry.sources):
        return await shape_there(entry, connections=sources.connections, on_bytes=sources.on_bytes)
    return None


def _describe_files(entry: Entry, size: Bytes) -> Profile:
    """Describe a model of which only the size of its files is known: the least that it takes."""
    source = "size of its files, which is the least that it takes; what it needs in addition is unknown"
    memory = Figure(value=size, unit="B", origin=Origin.MODEL_FILE, source=source)
    return Profile(name=entry.name, aliases=entry.aliases, engines=entry.engines, memory=memory)


# --- the answer ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """The known shape of a model; null is unknown."""

    name: str
    origin: Origin
    source: str
    architecture: str | None
    parameters: int
    quantization: str | None
    layers: int
    context_length: int | None
    """Tokens that it was trained for."""
    vocabulary: int | None
    experts: int
    experts_used: int
    """For each token."""
    weights: Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FitAnswer:
    """The need of a model and where it fits; sizes are bytes."""

    model: ModelSummary
    running: Running
    parts: Parts
    on_one_gpu: int
    """On a GPU that has all of it."""
    complete: bool
    """Whether every part is known; otherwise the sums are lower bounds."""
    fits: bool
    """Whether all of it fits on one GPU or one split."""
    verdicts: tuple[Verdict, ...]
    quantizations: tuple[Quantized, ...]
    bus: tuple[BusCost, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileVerdict:
    """Whether a declared need is met by a GPU."""

    card: CandidateGpu
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileAnswer:
    """Where a model fits whose need is declared by a profile; sizes are bytes."""

    profile: str
    engines: tuple[str, ...]
    memory: Figure
    file_size: Bytes | None
    """Of the files in the store; null when it is not there."""
    fits: bool
    verdicts: tuple[ProfileVerdict, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineAnswer:
    """The parts of an image or video model, and where it fits; sizes are bytes."""

    pipeline: str
    """The published model."""
    medium: str
    """`image` or `video`."""
    precision: str
    """Of the transformers."""
    parts: tuple[PipelinePart, ...]
    """In the order of their turns."""
    least_vram: Figure
    """For the largest part, without what a step works with, which is unknown."""
    main_memory: Figure
    """For all parts between their turns."""
    measured: tuple[MeasuredRun, ...]
    fits: bool | None
    """Null is unknown."""
    verdicts: tuple[PipelineVerdict, ...]


def answer_fit(fitted: Fitted) -> FitAnswer | ProfileAnswer | PipelineAnswer:
    """Return the judgement as doors show it to programs."""
    judged = fitted.judged
    if isinstance(judged, PipelineFit):
        return _answer_pipeline(judged)
    if isinstance(judged, ProfileFit):
        return ProfileAnswer(
            profile=judged.profile.name,
            engines=judged.profile.engines,
            memory=judged.profile.memory,
            file_size=judged.file_size,
            fits=any(fits for _, fits in judged.fits),
            verdicts=tuple(ProfileVerdict(card=card, fits=fits) for card, fits in judged.fits),
        )
    return FitAnswer(
        model=_summarize(judged.shape),
        running=judged.running,
        parts=judged.parts,
        on_one_gpu=judged.parts.on_one_gpu,
        complete=judged.parts.is_complete,
        fits=judged.fits,
        verdicts=judged.verdicts,
        quantizations=judged.quantizations,
        bus=judged.bus_costs,
    )


def _answer_pipeline(judged: PipelineFit) -> PipelineAnswer:
    pipeline = judged.pipeline
    return PipelineAnswer(
        pipeline=pipeline.id,
        medium=pipeline.medium,
        precision=pipeline.precision,
        parts=pipeline.parts,
        least_vram=pipeline.least_vram,
        main_memory=pipeline.main_memory,
        measured=pipeline.measured,
        fits=judged.fits,
        verdicts=judged.verdicts,
    )


def _summarize(shape: ModelShape) -> ModelSummary:
    return ModelSummary(
        name=shape.name,
        origin=shape.origin,
        source=shape.source,
        architecture=shape.architecture,
        parameters=shape.parameters,
        quantization=shape.quantization,
        layers=len(shape.blocks),
        context_length=shape.context_length,
        vocabulary=shape.vocabulary,
        experts=shape.experts,
        experts_used=shape.experts_used,
        weights=shape.weights,
    )
