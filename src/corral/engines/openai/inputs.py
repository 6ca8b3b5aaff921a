"""The inputs of an `openai` task, and the engine's options in the cluster file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field

from corral.engines.chat.messages import MAX_TEXT, Message
from corral.engines.schema import EngineInputs, EngineOptions

Call = Literal["chat", "complete", "embed", "speak", "transcribe", "translate", "draw"]
SpeechFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

_WRITES: tuple[Call, ...] = ("chat", "complete")
_HEARS: tuple[Call, ...] = ("transcribe", "translate")
_MAIN: dict[Call, tuple[str, ...]] = {
    "chat": ("prompt", "messages"),
    "complete": ("prompt",),
    "embed": ("input",),
    "speak": ("prompt",),
    "transcribe": (),
    "translate": (),
    "draw": ("prompt",),
}
"""The fields that say what it is about; exactly one of them is given, and none for what is heard: that is a file."""
_GOES_WITH: dict[str, tuple[Call, ...]] = {
    "system": ("chat",),
    "images": ("chat", "draw"),
    "tools": ("chat",),
    "tool_choice": ("chat",),
    "json_schema": ("chat",),
    "reasoning_effort": ("chat",),
    "max_tokens": _WRITES,
    "top_p": _WRITES,
    "presence_penalty": _WRITES,
    "frequency_penalty": _WRITES,
    "stop": _WRITES,
    "temperature": (*_WRITES, *_HEARS),
    "seed": (*_WRITES, "speak", "draw"),
    "dimensions": ("embed",),
    "voice": ("speak",),
    "speed": ("speak",),
    "instructions": ("speak",),
    "format": ("speak",),
    "language": ("transcribe",),
    "initial_prompt": _HEARS,
    "word_timestamps": ("transcribe",),
    "segments": _HEARS,
    "size": ("draw",),
    "count": ("draw",),
    "mask": ("draw",),
}
RESERVED = frozenset(
    {"model", "messages", "prompt", "input", "file", "stream", "stream_options", "response_format", "n", "image"}
)
"""Fields of a request that are Corral's: `extra` cannot have them."""


class OpenAiInputs(EngineInputs):
    """Inputs of `openai`: `prompt` or `messages` to chat, `input` to embed, or another `kind`."""

    kind: Call | None = Field(
        None,
        description="What to do: answer `prompt` or `messages`, go on writing `prompt`, embed `input`, say `prompt`, "
        "transcribe the file, translate what it says to English, or draw `prompt`. When absent, `chat` or `embed`.",
    )
    prompt: str | None = Field(
        None, min_length=1, max_length=MAX_TEXT, description="The text to answer, to continue, to say or to draw."
    )
    messages: list[Message] | None = Field(None, min_length=1, max_length=1000, description="A whole conversation.")
    input: str | list[str] | None = Field(None, min_length=1, max_length=100_000, description="What to embed.")
    system: str | None = Field(None, max_length=MAX_TEXT, description="Instructions that go before everything else.")
    images: list[str] = Field(
        default_factory=list[str],
        max_length=16,
        description="Files of the task, by name: to look at with `prompt`, or to change by `draw`.",
    )
    max_tokens: int | None = Field(None, ge=1, le=1_048_576, description="Most tokens that the model writes.")
    temperature: float | None = Field(None, ge=0, le=5, description="0 always takes the likeliest token.")
    top_p: float | None = Field(None, gt=0, le=1, description="Share of probability that tokens are drawn from.")
    presence_penalty: float | None = Field(None, ge=-2, le=2, description="Above 0 avoids tokens that were used.")
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, description="Above 0 avoids tokens the more the oftener they were used."
    )
    stop: list[str] = Field(default_factory=list[str], max_length=16, description="Texts that end the answer.")
    seed: int | None = Field(
        None, ge=0, le=2**32 - 2, description="Same seed, same result, where the server keeps to it."
    )
    json_schema: dict[str, Any] | None = Field(
        None, description="A JSON Schema; the answer is JSON that satisfies it."
    )  # Any: a schema is open by nature; the server checks what it supports
    tools: list[dict[str, Any]] | None = Field(
        None, min_length=1, max_length=200, description="Functions that the model can call, as OpenAI describes them."
    )  # Any: as above
    tool_choice: Literal["auto", "none", "required"] | None = Field(
        None, description="Whether the model decides to call a function, must, or must not."
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = Field(
        None, description="How hard to think before answering."
    )
    dimensions: int | None = Field(None, ge=1, le=65_536, description="Length of the vectors.")
    voice: str | None = Field(
        None, min_length=1, max_length=200, description="The voice that speaks, by the server's name for it."
    )
    speed: float | None = Field(None, ge=0.25, le=4, description="Speed of speech; 2 takes half as long.")
    instructions: str | None = Field(None, max_length=10_000, description="How to speak, where the model takes that.")
    format: SpeechFormat | None = Field(None, description="Format of the speech; `mp3` when absent.")
    language: str | None = Field(
        None, pattern="^[a-z]{2,3}$", description="Language spoken, such as `en`; detected when absent."
    )
    initial_prompt: str | None = Field(
        None, max_length=2_000, description="Text that goes before, to guide names and spelling."
    )
    word_timestamps: bool = Field(False, description="Add the time of each word to `segments.json`.")
    segments: bool = Field(
        True, description="Ask for times too (`verbose_json`), which subtitles need and not every model gives."
    )
    size: str | None = Field(
        None, pattern=r"^(auto|\d{2,5}x\d{2,5})$", description="Width and height of an image in pixels: `1024x1024`."
    )
    count: int = Field(1, ge=1, le=10, description="How many images to draw.")
    mask: str | None = Field(
        None, min_length=1, description="A file of the task: where an image of `images` is drawn anew."
    )
    extra: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        max_length=64,
        description="More fields of the request, by the server's own names: `top_k`, `negative_prompt`.",
    )  # Any: what a server takes is open

    @classmethod
    def list_conflicts(cls, given: Mapping[str, Any]) -> Iterable[str]:  # Any: JSON from the user
        """Say which fields do not go together."""
        call = _find_call(given)
        if call not in _MAIN:
            return  # another problem says so
        yield from _list_main_problems(given, call)
        for name, calls in _GOES_WITH.items():
            if call not in calls and given.get(name):
                yield f"{name!r} has no meaning for {call!r}; it goes with {', '.join(map(repr, calls))}"
        if given.get("images") and given.get("messages"):
            yield "'images' goes with 'prompt'; in 'messages', each message has its own"
        if given.get("mask") and not given.get("images"):
            yield "'mask' is given, and no image that it belongs to; name it in 'images'"
        if given.get("word_timestamps") and given.get("segments") is False:
            yield "'word_timestamps' is given, and 'segments' is false"
        if isinstance(extra := given.get("extra"), Mapping) and (taken := sorted(RESERVED & extra.keys())):
            yield f"'extra' has {', '.join(map(repr, taken))}, which Corral sets"

    def call(self) -> Call:
        """Return what to do."""
        return self.kind or ("embed" if self.input is not None else "chat")

    def list_files(self) -> list[str]:
        """Return the names of the files that the inputs name, each once."""
        named = [*self.images, *([self.mask] if self.mask else [])]
        return list(dict.fromkeys([*named, *(name for turn in self.messages or () for name in turn.images)]))


class OpenAiOptions(EngineOptions):
    """Settings of `openai` in the cluster file."""

    voice: str | None = Field(None, min_length=1, description="The voice of speech where a request names none.")
    language: str | None = Field(
        None,
        pattern="^[a-z]{2,3}$",
        description="The language of speech where a request names none, for servers that need one: GPT-SoVITS.",
    )


def _find_call(given: Mapping[str, Any]) -> Any:  # Any: JSON from the user
    return given.get("kind") or ("embed" if given.get("input") is not None else "chat")


def _list_main_problems(given: Mapping[str, Any], call: Call) -> Iterable[str]:  # Any: as above
    wanted = _MAIN[call]
    named = [name for name in ("prompt", "messages", "input") if given.get(name) is not None]
    for name in named:
        if name not in wanted:
            takes = f"takes {' or '.join(map(repr, wanted))}" if wanted else "takes the task's one file"
            yield f"{name!r} has no meaning for {call!r}, which {takes}"
    if wanted and not named:
        yield f"none of {', '.join(map(repr, wanted))} is given"
    if call == "chat" and len(named) > 1 and set(named) <= set(wanted):
        yield "'prompt' and 'messages' are given, and only one can be used"
