"""The inputs of an `ollama` task, and the engine's options in the cluster file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field

from corral.engines.ollama.options import KeepAlive, ModelOptions, Schema
from corral.engines.schema import EngineInputs, EngineOptions
from corral.narrowing import as_list, as_object

MAX_TEXT = 2_000_000
"""Characters of one text, as for the local language models."""

Call = Literal["chat", "generate", "embed"]
_FIELD_OF_CALL: dict[Call, str] = {"chat": "messages", "generate": "prompt", "embed": "input"}
_GOES_WITH: dict[str, tuple[str, ...]] = {
    "images": ("prompt",),
    "system": ("prompt", "messages"),
    "suffix": ("prompt",),
    "raw": ("prompt",),
    "tools": ("messages",),
    "think": ("prompt", "messages"),
    "format": ("prompt", "messages"),
    "dimensions": ("input",),
}
"""What Ollama drops without a word next to any other field."""
_UNLESS = {"images": "name them in the message that they belong to", "tools": "write the prompt as `messages`"}


class ToolCall(EngineInputs):
    """A function that the model called earlier in the conversation."""

    function: dict[str, Any] = Field(description="`name`, and `arguments` as an object.")  # Any: the tool's own schema


class OllamaMessage(EngineInputs):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"] = Field(description="Who speaks.")
    content: str = Field("", max_length=MAX_TEXT, description="The message's text.")
    thinking: str | None = Field(None, max_length=MAX_TEXT, description="The model's thinking before its answer.")
    images: list[str] = Field(default_factory=list[str], max_length=64, description="Files of the task to look at.")
    tool_calls: list[ToolCall] | None = Field(None, max_length=64, description="Functions that the model called.")
    tool_name: str | None = Field(None, max_length=200, description="Which tool answers, where `role` is `tool`.")


class OllamaInputs(EngineInputs):
    """Inputs of `ollama`: `messages` to chat, `prompt` to generate, or `input` to embed."""

    kind: Call | None = Field(None, description="What to do; follows from the field that is given when absent.")
    messages: list[OllamaMessage] | None = Field(None, min_length=1, max_length=1000, description="A conversation.")
    prompt: str | None = Field(None, min_length=1, max_length=MAX_TEXT, description="A text to continue or answer.")
    input: str | list[str] | None = Field(None, min_length=1, max_length=100_000, description="What to embed.")
    images: list[str] = Field(
        default_factory=list[str], max_length=64, description="Files of the task to look at, with `prompt`."
    )
    system: str | None = Field(None, max_length=MAX_TEXT, description="Instructions, which go before everything else.")
    suffix: str | None = Field(None, max_length=MAX_TEXT, description="What comes after the gap, with `prompt`.")
    raw: bool = Field(False, description="Leave the model's template out, with `prompt`.")
    tools: list[dict[str, Any]] | None = Field(
        None, max_length=128, description="Functions that the model can call, with `messages`."
    )  # Any: JSON Schemas of the tools
    think: bool | Literal["low", "medium", "high", "max"] | None = Field(
        None, description="Whether, or how hard, to think before answering."
    )
    format: Literal["json"] | Schema | None = Field(
        None, description="`json`, or a JSON Schema that the answer satisfies."
    )
    options: ModelOptions = Field(
        default_factory=lambda: ModelOptions.model_validate({}), description="Ollama's own, by their names there."
    )
    keep_alive: KeepAlive | None = Field(
        None, description="How long the model stays: seconds, or a duration such as `10m`; negative for ever."
    )
    dimensions: int | None = Field(None, ge=1, le=65536, description="Length of the vectors, with `input`.")
    truncate: bool = Field(False, description="Cut what is longer than the context instead of refusing it.")

    @classmethod
    def list_conflicts(cls, given: Mapping[str, Any]) -> Iterable[str]:  # Any: JSON from the user
        """Say whether not exactly one thing to do is given, and what the rest has no meaning for."""
        named = [name for name in _FIELD_OF_CALL.values() if given.get(name) is not None]
        if len(named) > 1:
            yield f"{' and '.join(map(repr, named))} are given, and only one can be used"
        if not named:
            yield "none of 'messages', 'prompt' and 'input' is given"
        wanted = _FIELD_OF_CALL.get(given.get("kind"))  # pyright: ignore[reportArgumentType]: any other is refused
        if wanted and named and wanted not in named:
            yield f"'kind' is {given['kind']!r}, which takes {wanted!r} instead of {named[0]!r}"
        if len(named) == 1:
            yield from _list_strangers(given, named[0])

    def lists_images(self) -> bool:
        """Whether the model is to look at images."""
        return bool(self.images or any(message.images for message in self.messages or ()))

    def call(self) -> Call:
        """Return what to do."""
        if self.kind:
            return self.kind
        return next(call for call, field in _FIELD_OF_CALL.items() if getattr(self, field) is not None)


class OllamaOptions(EngineOptions):
    """Settings of `ollama` in the cluster file."""

    context_size: int | None = Field(
        None,
        ge=128,
        le=1_048_576,
        description="The `num_ctx` of every request: a server loads a model anew whenever it changes.",
    )
    keep_alive: KeepAlive | None = Field(
        None, description="How long models stay where a task does not set it: seconds or `30m`; negative for ever."
    )


def _list_strangers(given: Mapping[str, Any], main: str) -> Iterable[str]:  # Any: JSON from the user
    """Say which fields have no meaning next to the one that says what to do."""
    for name, mains in _GOES_WITH.items():
        if given.get(name) and main not in mains:
            hint = f": {_UNLESS[name]}" if main != "input" and name in _UNLESS else ""
            yield f"{name!r} is given, and has no effect with {main!r}{hint}"
    if given.get("system") and given.get("raw"):
        yield "'system' is given, and a raw prompt has no place for it"
    if given.get("suffix"):
        for name in ("system", "images"):
            if given.get(name):
                yield f"{name!r} is given, and has no effect with 'suffix'"
    if main == "messages" and given.get("system") and _begins_with_system(given["messages"]):
        yield "'system' is given, and 'messages' begin with a system message"


def _begins_with_system(messages: Any) -> bool:  # Any: JSON from the user, of any shape
    first = as_list(messages)[:1]
    return bool(first) and as_object(first[0]).get("role") == "system"
