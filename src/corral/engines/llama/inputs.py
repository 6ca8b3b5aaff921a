"""The inputs of a `llama` task, and the engine's options in the cluster file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field

from corral.engines.chat.messages import MAX_TEXT, Message
from corral.engines.schema import EngineInputs, EngineOptions
from corral.narrowing import as_list, as_object

_TASKS = ("prompt", "messages", "embed")
_FOR_WRITING = ("system", "images", "mmproj", "json_schema", "grammar", "tools")


class Lora(EngineInputs):
    """A LoRA adapter that is applied to the model."""

    name: str = Field(min_length=1, max_length=1000, description="A GGUF file, named as models are.")
    scale: float = Field(1.0, ge=-100, le=100, description="Strength; 0 leaves it out.")


class LlamaInputs(EngineInputs):
    """Inputs of `llama`: one of `prompt`, `messages` and `embed`; the first two get the model's chat template."""

    prompt: str | None = Field(None, min_length=1, max_length=MAX_TEXT, description="The user's message, in one turn.")
    messages: list[Message] | None = Field(None, min_length=1, max_length=1000, description="A whole conversation.")
    embed: list[str] | None = Field(
        None, min_length=1, max_length=100_000, description="Texts to turn into vectors, one each."
    )
    pooling: Literal["mean", "cls", "last"] | None = Field(
        None,
        description="How vectors of tokens become the text's, for `embed`; else the engine's, or the model's own.",
    )
    system: str | None = Field(None, max_length=MAX_TEXT, description="Instructions that go before everything else.")
    images: list[str] = Field(
        default_factory=list[str], max_length=100, description="Files of the task to look at with `prompt`, by name."
    )
    mmproj: str | None = Field(
        None, max_length=1000, description="The model's projector for images, a GGUF file named as models are."
    )
    loras: list[Lora] = Field(default_factory=list[Lora], max_length=16, description="LoRA adapters to apply.")
    max_tokens: int = Field(512, ge=1, le=131_072, description="Most tokens that the model writes.")
    temperature: float = Field(0.8, ge=0, le=5, description="0 always takes the likeliest token.")
    top_p: float = Field(0.95, gt=0, le=1, description="Share of probability that tokens are drawn from.")
    top_k: int | None = Field(None, ge=0, le=1_000_000, description="How many tokens are drawn from; 0 is all.")
    min_p: float | None = Field(None, ge=0, le=1, description="Least probability, as a share of the likeliest token's.")
    repeat_penalty: float | None = Field(None, gt=0, le=10, description="Above 1 avoids tokens that were just used.")
    presence_penalty: float | None = Field(None, ge=-2, le=2, description="Above 0 avoids tokens that were used.")
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, description="Above 0 avoids tokens the more the oftener they were used."
    )
    seed: int | None = Field(None, ge=0, le=2**32 - 2, description="Same seed, same text; random when absent.")
    stop: list[str] = Field(default_factory=list[str], max_length=16, description="Texts that end the answer.")
    json_schema: dict[str, Any] | None = Field(
        None, description="A JSON Schema; the answer is JSON that satisfies it."
    )  # Any: a schema is open by nature; llama.cpp checks what it supports
    grammar: str | None = Field(None, max_length=100_000, description="A grammar in GBNF that the answer follows.")
    tools: list[dict[str, Any]] | None = Field(
        None, min_length=1, max_length=200, description="Functions that the model can call, as OpenAI describes them."
    )  # Any: as `json_schema`

    @classmethod
    def list_conflicts(cls, given: Mapping[str, Any]) -> Iterable[str]:  # Any: JSON from the user
        """Say which fields do not go together."""
        named = [name for name in _TASKS if given.get(name) is not None]
        if len(named) > 1:
            yield f"{' and '.join(map(repr, named))} are given, and only one can be used"
        if not named:
            yield f"none of {', '.join(map(repr, _TASKS))} is given"
        if "embed" in named:
            yield from (f"{name!r} has no meaning for 'embed'" for name in _FOR_WRITING if given.get(name))
        elif given.get("pooling"):
            yield "'pooling' has a meaning for 'embed' alone"
        if given.get("images") and "prompt" not in named:
            yield "'images' goes with 'prompt'; in 'messages', each message has its own"
        if given.get("mmproj") is None and _has_images(given):
            yield "images are given and 'mmproj' is not; a model sees only with its projector"
        forms = [name for name in ("json_schema", "grammar", "tools") if given.get(name)]
        if len(forms) > 1:
            yield f"{' and '.join(map(repr, forms))} are given, and each decides the form of the answer alone"


def _has_images(given: Mapping[str, Any]) -> bool:  # Any: as above
    turns = as_list(given.get("messages"))
    return bool(given.get("images")) or any(as_object(turn).get("images") for turn in turns)


class LlamaOptions(EngineOptions):
    """Settings of `llama` in the cluster file."""

    binary: str | None = Field(
        None,
        min_length=1,
        description="The `llama-server` to run, as a path or a name on PATH. When absent, a GPU slot takes the one on "
        "PATH, and a processor slot llama.cpp's server from `xllamacpp`.",
    )
    context_size: int = Field(4096, ge=128, le=1_048_576, description="Tokens of prompt and answer together.")
    gpu_layers: int = Field(
        -1, ge=-1, le=10_000, description="Layers that are put on the GPU; -1 is all. Without a GPU none are."
    )
    pooling: Literal["mean", "cls", "last"] | None = Field(
        None,
        description="How vectors of tokens become the text's where a task or a request does not say; the model's own "
        "way when absent, which models that write do not have.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Threads of the processor; when absent, the slot's share, and one core less than there are.",
    )
