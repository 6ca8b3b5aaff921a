"""The shape of `run`: how Corral runs the server of an instance itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from corral.cluster.fields import (
    AbsolutePath,
    Duration,
    EnvironmentName,
    EnvValue,
    FilePath,
    IdleFor,
    Name,
    Port,
    Text,
    match_whole,
    wrong,
)
from corral.cluster.machine_shapes import Shape
from corral.engine_kinds import ENGINES


def _split_command(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError:
        raise wrong("the command's quotes do not close", "write it as a list: `[program, argument]`") from None


def _require_time(value: timedelta) -> timedelta:
    if not value:
        raise wrong("no server is ready within no time", "write how long its start can take, such as 5m")
    return value


Argument = Annotated[Text, AfterValidator(match_whole(r"[^\x00]+", "an argument", "text without NUL"))]
Operand = Annotated[
    Text,
    AfterValidator(
        match_whole(r"[^\x00-][^\x00]*", "the name of an image or a service", "the name alone: options have no place")
    ),
]
"""A word that a program is given by its place; one with `-` at its beginning would be an option."""
UnitName = Annotated[
    Text,
    AfterValidator(match_whole(r"[A-Za-z0-9_][A-Za-z0-9_.:@\\-]*", "a unit's name", "its name alone: comfyui.service")),
]
VariableName = Annotated[
    Text, AfterValidator(match_whole(r"[^=\x00]+", "a variable's name", "the name alone, its value after the colon"))
]
Folder = Annotated[
    Text, AfterValidator(match_whole(r"(/|~(/|$))[^\x00]*", "an absolute path", "a path that starts with `/` or `~/`"))
]
StartTime = Annotated[Duration, AfterValidator(_require_time)]
Command = Annotated[
    tuple[Argument, ...],
    BeforeValidator(_split_command),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}}]}),
]


ContainerProgram = Literal["docker", "podman"]


class ComposeShape(Shape):
    """A service of a Compose file; the file gets its port and GPU as `${CORRAL_PORT}` and `${CORRAL_GPU}`."""

    file: FilePath = Field(description="The Compose file.")
    service: Operand = Field(description="The service in it; those that it depends on are not started.")
    program: ContainerProgram = Field("docker", description="The program that has the command `compose`.")


class ContainerShape(Shape):
    """A container of an image, removed when it ends."""

    image: Operand = Field(description="The image; pull it beforehand: a start waits no longer than `readyWithin`.")
    program: ContainerProgram = Field("docker", description="The program that runs it.")
    port: Port | None = Field(
        None, description="The port on which it listens within the container. Default: the engine's usual one."
    )
    volumes: tuple[Argument, ...] = Field((), description="Folders that it gets: `/home/ada/models:/models`.")


class RunShape(Shape):
    """How Corral runs an instance's server itself: started when a task needs it, ended whole."""

    preset: Name | None = Field(
        None, description="A program that Corral knows how to start, by its name in the reference of presets."
    )
    command: Command | None = Field(
        None,
        min_length=1,
        description="A program of this machine and its arguments, as a list or as a shell would read them; no shell "
        "runs. `{port}` is the port that it must listen on, at 127.0.0.1.",
    )
    systemd: UnitName | None = Field(
        None,
        description="A unit of systemd: of Corral's user, or of the system where Corral runs as root. The unit says "
        "itself which GPU it uses; `port` is the one on which it listens.",
    )
    compose: ComposeShape | None = Field(None, description="A service of a Compose file.")
    container: ContainerShape | None = Field(None, description="A container of an image.")
    arguments: tuple[Argument, ...] = Field(
        (), description="More arguments, after those of the command, the preset or the image."
    )
    folder: Folder | None = Field(
        None,
        description="The folder that it runs in; of a preset, the one that has the program. Default: the user's home.",
    )
    env: dict[VariableName, EnvValue] = Field(
        default_factory=dict, description="Environment variables, where `{port}` is the port too. Nothing secret."
    )
    env_from: dict[VariableName, EnvironmentName] = Field(
        default_factory=dict,
        description="Environment variables with secrets: the variable of the Corral server's own environment that "
        "holds each one's value.",
    )
    port: Port | None = Field(None, description="The port that it listens on. Default: a free one at each start.")
    health_path: AbsolutePath | None = Field(
        None, description="The path that answers 200 when it is ready. Default: the preset's or the engine's."
    )
    ready_within: StartTime | None = Field(
        None, description="How long a start can take before it is ended as failed. Default: the preset's, or 5m."
    )
    idle: IdleFor | None = Field(
        None, description="How long it stays without work before it is stopped, or `never`. Default: 15m."
    )
    always: bool = Field(
        False, strict=True, description="Start it with Corral, and again whenever it ends; it is never idle."
    )


RUN_KINDS = ("preset", "command", "systemd", "compose", "container")
"""The keys of which `run` has one."""


def find_kind_problems(engine: str, run: RunShape) -> Iterator[tuple[str, str, str]]:
    """Yield the key, the problem and the hint of what a unit, a service or a container cannot have, or must have."""
    if run.systemd is not None and run.port is None:
        yield "port", f"the port of the unit {run.systemd!r} is not named", "add `port`, on which the unit listens"
    fixed = ("arguments", "env", "env_from") if run.systemd else ("arguments",) if run.compose else ()
    for key in fixed:
        if getattr(run, key):
            what = f"`{to_camel(key)}` of a {'unit' if run.systemd else 'service'} is in its own file"
            yield to_camel(key), what, "write it there"
    if run.container is not None and run.container.port is None and engine in ENGINES:
        program = ENGINES[engine].program
        if program is None or program.port is None:
            yield "container", f"the port within a container of {engine} is not known", "add `port` to `container`"
