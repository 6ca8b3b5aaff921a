"""The shapes of engines and of their instances."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from corral.cluster.fields import (
    AbsolutePath,
    Count,
    EnvironmentName,
    Index,
    InstanceUrl,
    Name,
    Size,
    Text,
    kind_of,
    wrong,
)
from corral.cluster.machine_shapes import Shape
from corral.cluster.run_shapes import RunShape


def _check_option(value: object) -> str | int | float | bool:
    if isinstance(value, str | int | float):
        return value
    raise wrong(f"an option is text, a number or a boolean, not {kind_of(value)}", "write a single value")


Option = Annotated[
    str | int | float | bool,
    BeforeValidator(_check_option),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]


class InstanceShape(Shape):
    """A server of an engine: one that runs anyway (`url`), or one that Corral runs (`run`)."""

    name: Name = Field(description="Unique within the engine.")
    url: InstanceUrl | None = Field(
        None,
        description="Where it answers, when it runs anyway; http or https, without user name or password. Of `job`: "
        "the LocalQueue of Kueue, `kueue://NAMESPACE/QUEUE`.",
    )
    run: RunShape | None = Field(None, description="How Corral runs it itself, on this machine.")
    node: Name | None = Field(None, description="The node that it computes on.")
    gpu: Index | None = Field(None, description="The index of the GPU that it computes on; needs `node`.")
    memory: Size | None = Field(None, description="VRAM that it can use, where no GPU is named.")
    token_from: EnvironmentName | None = Field(
        None,
        description="The name of the environment variable that holds the token for it (`Authorization: Bearer`). The "
        "token itself is never in this file.",
    )
    headers_from: dict[Text, EnvironmentName] = Field(
        default_factory=dict, description="Headers of every request to it: the variable that holds each one's value."
    )
    models_folder: AbsolutePath | None = Field(
        None,
        description="The folder in which it looks for model files, as the Corral server sees it: on the same machine, "
        "or on a share. `corral models place` writes there.",
    )
    exclusive: bool | None = Field(
        None, strict=True, description="Whether its tasks compute alone on their GPU. Default: that of the engine."
    )
    lanes: Count | None = Field(
        None,
        description="How many tasks of one model it does at a time. Default: that of the engine, else as many as its "
        "server says, else one.",
    )


class EngineShape(Shape):
    """How the queue uses one engine."""

    enabled: bool | None = Field(
        None,
        strict=True,
        description="Whether tasks can use it. Default: true; false for `chatterbox`, `command` and `sleep`.",
    )
    exclusive: bool | None = Field(
        None,
        strict=True,
        description="Whether its tasks compute alone on their GPU, whatever fits next to them. "
        "Default: false; true for `comfyui`.",
    )
    lanes: Count | None = Field(
        None,
        description="How many tasks of one model each of its slots does at a time, for engines that can do several: "
        "`llama`, `ollama`, `openai`, `sleep`. Default: as many as a server says, else one.",
    )
    instances: tuple[InstanceShape, ...] = Field(
        (), description="Servers, for engines that work on servers: `comfyui`, `ollama`, `openai`."
    )
    options: dict[Text, Option] = Field(default_factory=dict, description="The engine's own settings.")
