"""How the server of an instance is started: pure, from what the cluster file says and what is known of its engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

from corral.cluster.run_values import Run
from corral.engine_kinds import EngineKind

PORT = "{port}"
"""Stands for the port in commands and variables; no other braces are replaced."""
_HOME = "~/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that a start needs, but for what only a start knows: the port, the GPU, the values of secrets."""

    title: str
    """For people: `comfyui desk`."""
    command: tuple[str, ...]
    """The program and its arguments, with `PORT` in them."""
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


def make_recipe(kind: EngineKind, instance: str, run: Run, *, home: Path) -> Recipe:
    """Return how the server of an instance is started; `home` is where it runs when no folder is named."""
    program = kind.program
    return Recipe(
        title=f"{kind.name} {instance}",
        command=tuple(_expand(word, home) for word in (*run.command, *run.arguments)),
        environment=run.env,
        secrets=run.env_from,
        folder=home if run.folder is None else Path(_expand(run.folder, home)),
        health_path=run.health_path or (program.health_path if program else None) or "/",
        port=run.port,
        ready_within_s=run.ready_within.total_seconds(),
        idle_s=None if run.idle is None or run.always else run.idle.total_seconds(),
        always=run.always,
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
