"""The inputs of a `llama` task, and the engine's options in the cluster file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field

from corral.engines.schema import EngineInputs, EngineOptions

MAX_TEXT = 2_000_000
"""Characters of one text: about 500,000 tokens, more than any context that these GPUs hold."""


class Message(EngineInputs):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"] = Field(description="Who speaks.")
    content: str = Field(max_length=MAX_TEXT, description="The message's text.")


class LlamaInputs(EngineInputs):
    """Inputs of `llama`: either `prompt` or `messages`; the model's own chat template is applied to both."""

    prompt: str | None = Field(None, min_length=1, max_length=MAX_TEXT, description="The user's message, in one turn.")
    messages: list[Message] | None = Field(None, min_length=1, max_length=1000, description="A whole conversation.")
    system: str | None = Field(None, max_length=MAX_TEXT, description="Instructions that go before everything else.")
    max_tokens: int = Field(512, ge=1, le=131_072, description="Most tokens that the model writes.")
    temperature: float = Field(0.8, ge=0, le=5, description="0 always takes the likeliest token.")
    top_p: float = Field(0.95, gt=0, le=1, description="Share of probability that tokens are drawn from.")
    seed: int | None = Field(None, ge=0, le=2**32 - 2, description="Same seed, same text; random when absent.")
    stop: list[str] = Field(default_factory=list[str], max_length=16, description="Texts that end the answer.")
    json_schema: dict[str, Any] | None = Field(
        None, description="A JSON Schema; the answer is JSON that satisfies it."
    )  # Any: a schema is open by nature; llama.cpp checks what it supports

    @classmethod
    def list_conflicts(cls, given: Mapping[str, Any]) -> Iterable[str]:  # Any: JSON from the user
        """Say whether not exactly one of `prompt` and `messages` is given."""
        named = [name for name in ("prompt", "messages") if given.get(name) is not None]
        if len(named) == 2:
            yield "both 'prompt' and 'messages' are given, and only one can be used"
        if not named:
            yield "neither 'prompt' nor 'messages' is given"


class LlamaOptions(EngineOptions):
    """Settings of `llama` in the cluster file."""

    context_size: int = Field(4096, ge=128, le=1_048_576, description="Tokens of prompt and answer together.")
    gpu_layers: int = Field(
        -1, ge=-1, le=10_000, description="Layers that are put on the GPU; -1 is all. Without a GPU none are."
    )
