"""Whether the engines' environments are what this machine needs; pure but for reading what is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corral.engine_facts import EngineEnvironment, EngineKind, Kernels
from corral.engines.environments.finding import Environments
from corral.engines.environments.installing import compute_digest
from corral.engines.machine_share import Examination
from corral.work import EngineUnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """An NVIDIA GPU as far as libraries are concerned."""

    name: str
    capability: tuple[int, int] | None
    """None where the driver does not report it."""


def examine_environment(kind: EngineKind, environments: Environments, cards: Sequence[Card]) -> Examination:
    """Say how an engine would run here: where its libraries are, and whether they run on the GPUs."""
    try:
        environments.require(kind)
    except EngineUnavailableError as error:
        return Examination(what=error.what, fix=error.hint)
    installed = environments.read(kind.name)
    if installed is None:
        return Examination(what="its libraries are installed next to Corral")
    built = f"an environment of its own ({installed.variant}, {installed.packages} packages)"
    environment = next((known for known in kind.environments if known.variant == installed.variant), None)
    if environment is None or compute_digest(environment) != installed.digest:
        fix = environments.write_command(kind, installed.variant)
        return Examination(what=f"{built}, built from another locked file than this version of Corral has", fix=fix)
    if (problem := find_problem(kind, environment, cards, environments)) is not None:
        return Examination(what=f"{built}; {problem.what}", fix=problem.fix)
    return Examination(what=built)


def find_problem(
    kind: EngineKind, environment: EngineEnvironment, cards: Sequence[Card], environments: Environments
) -> Examination | None:
    """Return why an environment is not the one for the GPUs of this machine; None where all is well or unknown."""
    if not cards:
        return None
    other = next((known for known in kind.environments if known.kernels is not None), None)
    if environment.kernels is None:
        if other is None or not any(runs_on(other.kernels, card) for card in cards):
            return None
        what = f"it has no libraries for {', '.join(sorted({card.name for card in cards}))}"
        return Examination(what=what, fix=environments.write_command(kind, other.variant))
    refused = [card for card in cards if runs_on(environment.kernels, card) is False]
    if not refused:
        return None
    kernels = environment.kernels
    names = ", ".join(f"{card.name} ({_write(card.capability)})" for card in refused)
    newest = "" if kernels.has_intermediate else f" to {_write(kernels.newest)}"
    built = f"it is built for compute capability {_write(kernels.oldest)}{newest}"
    what = f"{kernels.library} does not run on {names}: {built}"
    return Examination(what=what, fix=f"leave {kind.name} to the processor: `gpus: []` on the node, or another GPU")


def runs_on(kernels: Kernels | None, card: Card) -> bool | None:
    """Whether compiled code runs on a GPU; None where that is unknown."""
    if kernels is None or card.capability is None:
        return None
    return card.capability >= kernels.oldest and (kernels.has_intermediate or card.capability <= kernels.newest)


def _write(capability: tuple[int, int] | None) -> str:
    return "unknown" if capability is None else f"{capability[0]}.{capability[1]}"
