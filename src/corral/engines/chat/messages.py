"""Messages of a conversation: the model that tasks give, and what goes into a request."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from corral.engines.schema import EngineInputs
from corral.work import Json

MAX_TEXT = 2_000_000
"""Characters of one text: about 500,000 tokens, more than any context that these GPUs hold."""
MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


class Message(EngineInputs):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"] = Field(description="Who speaks.")
    content: str = Field(max_length=MAX_TEXT, description="The message's text.")
    images: list[str] = Field(
        default_factory=list[str], max_length=100, description="Files of the task to look at, by name."
    )
    tool_calls: list[dict[str, Any]] = Field(
        default_factory=list[dict[str, Any]], max_length=100, description="Of an assistant: its earlier `tool_calls`."
    )  # Any: as the model wrote them
    tool_call_id: str | None = Field(None, max_length=200, description="Of a tool: the call that this answers.")


def list_images(images: Iterable[str], turns: Iterable[Message]) -> list[str]:
    """Return the names of the files to look at, each once."""
    return list(dict.fromkeys([*images, *(name for turn in turns for name in turn.images)]))


def write_conversation(
    *,
    system: str | None,
    prompt: str | None,
    images: Sequence[str],
    turns: Sequence[Message] | None,
    pictures: Mapping[str, str],
) -> list[Json]:
    """Write a prompt in one turn, or a whole conversation; `pictures` has each image as a data URL."""
    first: list[Json] = [{"role": "system", "content": system}] if system is not None else []
    if turns is None:
        return [*first, {"role": "user", "content": _make_content(prompt or "", images, pictures)}]
    return [*first, *(_make_message(turn, pictures) for turn in turns)]


def make_data_url(path: Path, content: bytes) -> str:
    """Return an image as it goes into a request; its type is that of the file's ending, else PNG."""
    media_type = MEDIA_TYPES.get(path.suffix.lower(), "image/png")
    return f"data:{media_type};base64,{b64encode(content).decode('ascii')}"


def _make_content(text: str, images: Sequence[str], pictures: Mapping[str, str]) -> Json:
    if not images:
        return text
    parts = [{"type": "image_url", "image_url": {"url": pictures[name]}} for name in images]
    return [{"type": "text", "text": text}, *parts]


def _make_message(turn: Message, pictures: Mapping[str, str]) -> Json:
    message: dict[str, Json] = {"role": turn.role, "content": _make_content(turn.content, turn.images, pictures)}
    if turn.tool_calls:
        message["tool_calls"] = turn.tool_calls
    if turn.tool_call_id is not None:
        message["tool_call_id"] = turn.tool_call_id
    return message
