"""The shape of `run`: how Corral runs the server of an instance itself."""

from __future__ import annotations

import shlex
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

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
    wrong,
)
from corral.cluster.machine_shapes import Shape


def _split_command(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError:
        raise wrong("the command's quotes do not close", "write it as a list: `[program, argument]`") from None


Command = Annotated[
    tuple[Text, ...],
    BeforeValidator(_split_command),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}}]}),
]


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
    arguments: tuple[Text, ...] = Field((), description="More arguments, after the command's own or the preset's.")
    folder: FilePath | None = Field(
        None,
        description="The folder that it runs in; of a preset, the one that has the program. Default: the user's home.",
    )
    env: dict[Text, EnvValue] = Field(
        default_factory=dict, description="Environment variables, where `{port}` is the port too. Nothing secret."
    )
    env_from: dict[Text, EnvironmentName] = Field(
        default_factory=dict,
        description="Environment variables with secrets: the variable of the Corral server's own environment that "
        "holds each one's value.",
    )
    port: Port | None = Field(None, description="The port that it listens on. Default: a free one at each start.")
    health_path: AbsolutePath | None = Field(
        None, description="The path that answers 200 when it is ready. Default: the preset's or the engine's."
    )
    ready_within: Duration | None = Field(
        None, description="How long a start can take before it is ended as failed. Default: the preset's, or 5m."
    )
    idle: IdleFor | None = Field(
        None, description="How long it stays without work before it is stopped, or `never`. Default: 15m."
    )
    always: bool = Field(
        False, strict=True, description="Start it with Corral, and again whenever it ends; it is never idle."
    )
