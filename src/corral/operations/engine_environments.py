"""Installs engines on this machine, in environments of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from corral.data_dir import ENGINES_FOLDER, prepare_data_dir
from corral.engine_facts import EngineEnvironment, EngineKind
from corral.engine_kinds import ENGINES
from corral.engines.environments.finding import Environments, InstalledEnvironment
from corral.engines.environments.installing import (
    NoEnvironmentError,
    choose_environment,
    compute_digest,
    install,
    read_lock,
)
from corral.engines.environments.judging import find_problem
from corral.engines.machine_share import Examination
from corral.errors import did_you_mean
from corral.operations.doctor import list_cards
from corral.telemetry.kernel_gpus import find_all_gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentPlan:
    """An environment that can be built, and the one that is in use."""

    kind: EngineKind
    environment: EngineEnvironment
    packages: int
    """In the locked file; those for other systems are among them."""
    is_current: bool
    """Whether it is the one in use."""
    in_use: InstalledEnvironment | None
    caution: Examination | None
    """Why it is not the one for this machine's GPUs."""


def plan_environment(data_dir: Path, engine: str, variant: str | None) -> EnvironmentPlan:
    """Look at what would be installed; blocks while the driver answers. Raises: NoEnvironmentError."""
    kind = _find_kind(engine)
    environment = choose_environment(kind, variant)
    environments = Environments(data_dir / ENGINES_FOLDER)
    installed = environments.read(kind.name)
    same = (environment.variant, compute_digest(environment))
    return EnvironmentPlan(
        kind=kind,
        environment=environment,
        packages=sum(1 for line in read_lock(environment).splitlines() if "==" in line),
        is_current=installed is not None and (installed.variant, installed.digest) == same,
        in_use=installed,
        caution=find_problem(kind, environment, list_cards(find_all_gpus()), environments),
    )


async def install_environment(
    data_dir: Path, plan: EnvironmentPlan, report: Callable[[str], None]
) -> InstalledEnvironment:
    """Build what was planned, and put it into use. Raises: what `install` raises, SettingsError."""
    prepare_data_dir(data_dir)
    return await install(plan.kind, plan.environment, Environments(data_dir / ENGINES_FOLDER), report)


def _find_kind(engine: str) -> EngineKind:
    kind = ENGINES.get(engine)
    if kind is None:
        able = [known.name for known in ENGINES.values() if known.environments]
        hint = did_you_mean(engine, able, otherwise=f"use one of: {', '.join(able)}")
        raise NoEnvironmentError(f"no engine is called {engine!r}", hint=hint)
    return kind
