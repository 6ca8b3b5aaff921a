"""The GPUs that a model is judged on: by names of the catalogue, or those of a cluster file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from corral.cluster import Cluster
from corral.cluster.values import Gpu
from corral.errors import Kind, Problem, ProblemsError
from corral.hardware.catalogue import GpuModel, UnknownGpuError, find_gpu, list_matching
from corral.hardware.fit.splitting import CandidateGpu
from corral.units import Bytes


class UnclearCardsError(ProblemsError):
    """GPU names that name none, or several."""

    code: ClassVar[str] = "fit.unclear_gpus"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards:
    """The GPUs to judge on, each alone, and the groups that a split can use."""

    alone: tuple[CandidateGpu, ...] = ()
    groups: tuple[tuple[CandidateGpu, ...], ...] = ()


def resolve_names(names: Sequence[str]) -> Cards:
    """Resolve GPU names of the catalogue; all of them together are one split. Raises: UnclearCardsError."""
    problems, cards = list[Problem](), list[CandidateGpu]()
    for index, name in enumerate(names):
        matching = list_matching(name)
        if len(matching) == 1 and not matching[0].memory:
            problems.append(_ask_memory(name, matching[0]))
        elif len(matching) == 1:
            several = len(names) > 1
            cards.append(
                _make_card(f"gpu{index} {matching[0].name}" if several else matching[0].name, matching[0], None)
            )
        else:
            problems.append(_report_unclear(name, matching))
    if problems:
        raise UnclearCardsError(problems)
    return Cards(alone=tuple(cards), groups=(tuple(cards),) if len(cards) > 1 else ())


def list_gpus(cluster: Cluster) -> Cards:
    """List the GPUs of a cluster file; those of one node together are one split."""
    nodes = [tuple(_find_card(f"{node.name}/gpu{gpu.index}", gpu) for gpu in node.gpus or ()) for node in cluster.nodes]
    alone = tuple(card for cards in nodes for card in cards)
    return Cards(alone=alone, groups=tuple(cards for cards in nodes if len(cards) > 1))


def _report_unclear(name: str, matching: Sequence[GpuModel]) -> Problem:
    if not matching:
        try:
            find_gpu(name)
        except UnknownGpuError as error:
            return Problem(code="fit.unknown_gpu", what=error.what, where="--gpu", hint=error.hint)
    names = ", ".join(model.name for model in matching[:5])
    return Problem(
        code="fit.ambiguous_gpu",
        what=f"{name!r} names {len(matching)} GPUs",
        where="--gpu",
        hint=f"write one of {names}",
    )


def _ask_memory(name: str, model: GpuModel) -> Problem:
    return Problem(
        code="fit.memory_unknown",
        what=f"the memory of {name!r} ({model.name}) is unknown: it is that of the machine",
        where="--gpu",
        hint=f"write the machine's with it: `{name} 64GB`",
    )


def _find_card(name: str, gpu: Gpu) -> CandidateGpu:
    matching = list_matching(gpu.model, memory=gpu.memory) if gpu.model else ()
    return _make_card(name, matching[0] if len(matching) == 1 else None, gpu.memory)


def _make_card(name: str, model: GpuModel | None, memory: Bytes | None) -> CandidateGpu:
    return CandidateGpu(
        name=name,
        model=model.name if model else None,
        memory=memory or (model.memory if model else None) or None,
        bandwidth_gb_s=model.bandwidth_gb_s if model else None,
        bus=model.bus if model else None,
    )
