"""How the server of an instance is started: pure, from what the cluster file says and what is known of its engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

from corral.cluster.run_values import READY_WITHIN, Run
from corral.engine_kinds import EngineKind
from corral.presets.catalogue import Unloading, build_command, list_presets, list_variables
from corral.processes.server import HOST

PORT = "{port}"
"""Stands for the port in commands and variables; no other braces are replaced."""
_HOME = "~/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that a start needs, but for what only a start knows: the port, the GPU, the values of secrets."""

    title: str
    """For people: `comfyui desk`."""
    make_command: Callable[[], tuple[str, ...]]
    """Returns the program and its arguments, with `PORT` in them. Raises: PresetProgramError."""
    environment: Mapping[str, str]
    """Variables of its own, with `PORT` in them."""
    secrets: Mapping[str, str]
    """Variables, each with the one of this process's environment that holds its value."""
    folder: Path
    health_path: str
    port: int | None
    """None is a free one at each start."""
    ready_within_s: float
    idle_s: float | None
    """How long it stays without work; None is for ever."""
    always: bool
    """Whether it is started without work, too."""
    unloads: bool | None = None
    """Whether it can give its memory back while it goes on; None asks the adapter."""


def make_recipe(
    kind: EngineKind, instance: str, run: Run, *, home: Path, has_gpu: bool, exists: Callable[[str], bool]
) -> Recipe:
    """Return how the server of an instance is started; `home` is where it runs when no folder is named.

    `exists` reports whether a program can be run, by its name on the path or by its path.
    """
    program = kind.program
    folder = home if run.folder is None else Path(_expand(run.folder, home))
    arguments = tuple(_expand(word, home) for word in run.arguments)
    preset = None if run.preset is None else list_presets()[run.preset]

    def make_command() -> tuple[str, ...]:
        if preset is None:
            return (*(_expand(word, home) for word in run.command), *arguments)
        return build_command(
            preset,
            host=HOST,
            folder=None if run.folder is None else str(folder),
            arguments=arguments,
            has_gpu=has_gpu,
            exists=exists,
        )

    ready_within = run.ready_within or READY_WITHIN
    return Recipe(
        title=f"{kind.name} {instance}",
        make_command=make_command,
        environment={**(list_variables(preset, host=HOST) if preset else {}), **run.env},
        secrets=run.env_from,
        folder=folder,
        health_path=run.health_path
        or (preset.ready.path if preset else None)
        or (program.health_path if program else None)
        or "/",
        port=run.port,
        ready_within_s=preset.ready.within_s if preset and run.ready_within is None else ready_within.total_seconds(),
        idle_s=None if run.idle is None or run.always else run.idle.total_seconds(),
        always=run.always,
        unloads=None if preset is None else preset.unloads.way is Unloading.ADAPTER,
    )


def fill_port(words: Sequence[str], port: int) -> tuple[str, ...]:
    """Return a command with its port."""
    return tuple(word.replace(PORT, str(port)) for word in words)


def fill_environment(recipe: Recipe, port: int) -> dict[str, str]:
    """Return the variables of the recipe's own with their port."""
    return {name: value.replace(PORT, str(port)) for name, value in recipe.environment.items()}


def describe_run(run: Run) -> dict[str, object]:
    """Return what is set of a `run`, by `run.KEY`: where it differs, the server is another one."""
    described: dict[str, object] = {}
    for field in fields(run):
        value = getattr(run, field.name)
        if isinstance(value, Mapping):
            entries = cast("Mapping[str, str]", value)
            described |= {f"run.{field.name}.{name}": entry for name, entry in entries.items()}
        elif value not in (None, ()):
            described[f"run.{field.name}"] = value
    return described


def _expand(word: str, home: Path) -> str:
    """Put the home directory in, as a shell does at the start of a word."""
    return str(home / word.removeprefix(_HOME)) if word.startswith(_HOME) else str(home) if word == "~" else word
