"""Finds what a model is, wherever it lies, and judges it on the cards that are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.cluster import Cluster
from corral.cluster.values import Gpu
from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.figures import Figure, Origin
from corral.hardware.catalogue import GpuModel, UnknownGpuError, find_gpu
from corral.hardware.fit.judging import Fit, judge
from corral.hardware.fit.names import shape_of_name
from corral.hardware.fit.profiles import PROFILES, Profile, find_profile
from corral.hardware.fit.running import Running
from corral.hardware.fit.shape import ModelShape
from corral.hardware.fit.splitting import Card
from corral.units import Bytes, format_bytes
from corral.weights.errors import ModelNameError
from corral.weights.fetching import Connections
from corral.weights.headers.places import OnBytes
from corral.weights.headers.reading import shape_here, shape_there
from corral.weights.names import resolve, suggest
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
    """A model that fits on none of the cards that were asked about."""

    code: ClassVar[str] = "fit.no_room"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


class UnclearCardsError(ProblemsError):
    """GPU names that name none, or several."""

    code: ClassVar[str] = "fit.unclear_gpus"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards:
    """The cards to judge on, each alone, and the groups that a split may use."""

    alone: tuple[Card, ...] = ()
    groups: tuple[tuple[Card, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFit:
    """The answer for a model that a profile describes."""

    profile: Profile
    fits: tuple[tuple[Card, bool], ...]
    file_size: Bytes | None = None
    """Of the files in the store, where it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where models are looked for."""

    store: Store
    connections: Connections
    on_bytes: OnBytes


async def find_model(model: str, sources: Sources) -> ModelShape | Profile:
    """Find what a name means: a file here, one of the store, one on the web, a profile, or an estimate from the name.

    Raises: NothingKnownError, HeaderError, SourceError, ModelNameError, ModelMissingError.
    """
    if model.startswith(_LOCAL) or (model.endswith(_FILES) and "://" not in model and not model.startswith("hf:")):
        return await shape_here(Path(model).expanduser(), name=model)
    entry = _entry(model, sources.store)
    if entry is not None and (found := await _of_entry(entry, model, sources)) is not None:
        return found
    known = find_profile(model) or shape_of_name(model)
    if known is None:
        names = [name for profile in PROFILES for name in (profile.name, *profile.aliases)]
        raise NothingKnownError(
            f"nothing is known about {model!r}: no file, no profile, and its name says no size",
            hint=suggest(model, names) or "name a file, hf:owner/repo/file, a tag with a size, or `33b@q4_k_m`",
        )
    return known


def cards_of_names(names: Sequence[str]) -> Cards:
    """Resolve GPU names of the catalogue; all of them together are one split. Raises: UnclearCardsError."""
    problems, cards = list[Problem](), list[Card]()
    for place, name in enumerate(names):
        found = _models(name)
        if len(found) == 1:
            several = len(names) > 1
            cards.append(_card(f"gpu{place} {found[0].name}" if several else found[0].name, found[0], None))
        else:
            problems.append(_unclear(name, found))
    if problems:
        raise UnclearCardsError(problems)
    return Cards(alone=tuple(cards), groups=(tuple(cards),) if len(cards) > 1 else ())


def cards_of_cluster(cluster: Cluster) -> Cards:
    """List the GPUs of a cluster file; those of one node together are one split."""
    nodes = [tuple(_card_of(f"{node.name}/gpu{gpu.index}", gpu) for gpu in node.gpus or ()) for node in cluster.nodes]
    alone = tuple(card for cards in nodes for card in cards)
    return Cards(alone=alone, groups=tuple(cards for cards in nodes if len(cards) > 1))


def judge_profile(profile: Profile, cards: Cards, *, file_size: Bytes | None = None) -> ProfileFit:
    """Compare a declared need with each card."""
    fits = tuple((card, card.room is not None and profile.memory.value <= card.room) for card in cards.alone)
    return ProfileFit(profile=profile, fits=fits, file_size=file_size)


def judge_shape(
    shape: ModelShape, running: Running, cards: Cards, *, processor_gb_s: float | None, layers_on_gpu: int | None
) -> Fit:
    """Judge a shape on the cards. Raises: UnknownTypeError."""
    return judge(shape, running, cards.alone, cards.groups, processor_gb_s=processor_gb_s, layers_on_gpu=layers_on_gpu)


def require_room(answer: Fit | ProfileFit, model: str, cards: Cards, *, spilled_is_enough: bool = False) -> None:
    """Tell whoever asked about cards that none holds the model. Raises: NoRoomError."""
    if not cards.alone:
        return
    if isinstance(answer, ProfileFit):
        has_room, need = any(fits for _, fits in answer.fits), round(answer.profile.memory.value)
    else:
        spilled = spilled_is_enough and any(one.fits for one in answer.verdicts)
        has_room, need = answer.fits or spilled, answer.parts.on_one_gpu
    if has_room:
        return
    largest = max((card.room or 0 for card in cards.alone), default=0)
    smaller = "choose a smaller quantization"
    raise NoRoomError(
        f"no GPU or split holds {model!r} (needs {format_bytes(need)} on one GPU; the largest has "
        f"{format_bytes(largest)} usable)",
        hint=f"{smaller} or another model"
        if isinstance(answer, ProfileFit)
        else f"{smaller} or context, or let the processor take layers (`--layers-on-gpu`)",
    )


def file_size(model: str, store: Store) -> Bytes | None:
    """Say how large the files of a stored model are; None when it is not here. Raises: ModelDamagedError."""
    found = store.find(model)
    return None if found is None else found.size


def _entry(model: str, store: Store) -> Entry | None:
    try:
        return resolve(model, store.catalogue)
    except ModelNameError:
        if model.startswith(_REMOTE):
            raise
        return None


async def _of_entry(entry: Entry, model: str, sources: Sources) -> ModelShape | Profile | None:
    here = sources.store.find(model)
    if here is not None:
        try:
            return await shape_here(here.path, name=here.name)
        except (CorralError, OSError):
            return find_profile(model) or _files_alone(entry, here.size)
    if "llama" not in entry.engines and entry.engines:
        return find_profile(model) or (_files_alone(entry, entry.size) if entry.size else None)
    if any(isinstance(source, HuggingFaceSource | UrlSource) for source in entry.sources):
        return await shape_there(entry, connections=sources.connections, on_bytes=sources.on_bytes)
    return None


def _files_alone(entry: Entry, size: Bytes) -> Profile:
    """Describe a model of which only the size of its files is known: the least that it takes."""
    source = "size of its files, which is the least that it takes; what it needs besides is not known"
    memory = Figure(value=size, unit="B", origin=Origin.MODEL_FILE, source=source)
    return Profile(name=entry.name, aliases=entry.aliases, engines=entry.engines, memory=memory)


def _models(name: str, memory: int | None = None) -> tuple[GpuModel, ...]:
    try:
        found = find_gpu(name, memory=memory)
    except UnknownGpuError:
        return ()
    return found if isinstance(found, tuple) else (found,)


def _unclear(name: str, found: Sequence[GpuModel]) -> Problem:
    if not found:
        try:
            find_gpu(name)
        except UnknownGpuError as error:
            return Problem(code="fit.unknown_gpu", what=error.what, where="--gpu", hint=error.hint)
    names = ", ".join(one.name for one in found[:5])
    return Problem(
        code="fit.ambiguous_gpu", what=f"{name!r} names {len(found)} GPUs", where="--gpu", hint=f"write one of {names}"
    )


def _card_of(name: str, gpu: Gpu) -> Card:
    found = _models(gpu.model, gpu.memory) if gpu.model else ()
    return _card(name, found[0] if len(found) == 1 else None, gpu.memory)


def _card(name: str, model: GpuModel | None, memory: Bytes | None) -> Card:
    return Card(
        name=name,
        model=model.name if model else None,
        memory=memory or (model.memory if model else None),
        bandwidth_gb_s=model.bandwidth_gb_s if model else None,
        bus=model.bus if model else None,
    )
