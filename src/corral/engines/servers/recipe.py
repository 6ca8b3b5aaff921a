"""How the server of an instance is started: pure, from what the cluster file says and what is known of its engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import cast

from corral.cluster.run_values import READY_WITHIN, Container, Run
from corral.engine_facts import EngineKind
from corral.engines.servers.ways import PORT, Way, run_compose, run_container, run_unit
from corral.presets.catalogue import Unloading, build_command, list_presets, list_variables
from corral.processes.server import HOST

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
    clean_up: tuple[tuple[str, ...], ...] = ()
    """Commands that end what can outlive the program."""
    log_command: tuple[str, ...] | None = None
    """Prints what the server prints, where the program does not."""
    is_process: bool = True
    """Whether the server descends from the program, and so gets its GPU and its memory measured as a process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The facts of a machine and a slot on which a start depends."""

    home: Path
    """Where a server runs when no folder is named."""
    owner: str
    """Distinguishes this Corral from others on the machine; part of a container's name."""
    gpu: str | None = None
    """The UUID or PCI address of its GPU; None without."""
    gpu_files: tuple[str, ...] = ()
    """The files by which a container has a GPU of AMD or Intel."""
    is_root: bool = False
    exists: Callable[[str], bool] = field(default=lambda _: True)
    """Reports whether something is there: a program by its name on the path, or a file."""


def make_recipe(kind: EngineKind, instance: str, run: Run, here: Surroundings, *, lanes: int | None = None) -> Recipe:
    """Return how the server of an instance is started on this machine; a preset starts with that many lanes."""
    recipe = _make_own_recipe(kind, instance, run, here, lanes)
    way = _find_way(kind, instance, run, here)
    if way is None:
        return recipe
    environment = recipe.environment
    if run.container is not None:  # what is in it sees the port within
        port = str(_find_container_port(kind, run.container))
        environment = {name: value.replace(PORT, port) for name, value in environment.items()}
    return replace(
        recipe,
        make_command=lambda: way.command,
        environment={**environment, **way.variables},
        clean_up=way.clean_up,
        log_command=way.log_command,
        is_process=False,
    )


def _find_way(kind: EngineKind, instance: str, run: Run, here: Surroundings) -> Way | None:
    """Return how a server is started that is not a process of Corral's own; None where it is."""
    if run.systemd is not None:
        return run_unit(run.systemd, is_root=here.is_root)
    if run.compose is not None:
        file = _expand(run.compose.file, here.home)
        return run_compose(replace(run.compose, file=file), gpu=here.gpu)
    if run.container is None:
        return None
    port = _find_container_port(kind, run.container)
    volumes = tuple(_expand(volume, here.home) for volume in run.container.volumes)
    return run_container(
        replace(run.container, volumes=volumes),
        name=f"corral-{here.owner}-{kind.name}-{instance}",
        label=f"{kind.name}/{instance}",
        port=port,
        variables=(*run.env, *run.env_from),
        arguments=[word.replace(PORT, str(port)) for word in run.arguments],
        gpu=here.gpu,
        gpu_files=here.gpu_files,
    )


def _find_container_port(kind: EngineKind, container: Container) -> int:
    """Return the port within a container; a check of the cluster file holds that it is known."""
    usual = kind.program.port if kind.program else None
    port = container.port or usual
    assert port is not None, "the cluster file's checks"
    return port


def _make_own_recipe(kind: EngineKind, instance: str, run: Run, here: Surroundings, lanes: int | None) -> Recipe:
    home = here.home
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
            lanes=lanes,
            has_gpu=here.gpu is not None,
            exists=here.exists,
        )

    ready_within = run.ready_within or READY_WITHIN
    return Recipe(
        title=f"{kind.name} {instance}",
        make_command=make_command,
        environment={**(list_variables(preset, host=HOST, lanes=lanes) if preset else {}), **run.env},
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
    return dict(_describe_value("run", run))


def _describe_value(name: str, value: object) -> Iterator[tuple[str, object]]:
    if is_dataclass(value):
        for part in fields(value):
            yield from _describe_value(f"{name}.{part.name}", getattr(value, part.name))
    elif isinstance(value, Mapping):
        for key, entry in cast("Mapping[str, str]", value).items():
            yield f"{name}.{key}", entry
    elif value not in (None, ()):
        yield name, value


def _expand(word: str, home: Path) -> str:
    """Put the home directory in, as a shell does at the start of a word."""
    return str(home / word.removeprefix(_HOME)) if word.startswith(_HOME) else str(home) if word == "~" else word
