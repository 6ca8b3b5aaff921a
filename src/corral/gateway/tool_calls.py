"""Calls of tools that a model has written as text: `{"name": "look", "arguments": {}}`, bare or in a ```json fence.

Small models do that (Qwen2.5-Coder 0.5B), and llama.cpp passes their words on as content (xllamacpp 2026.10 was run). A
text that is a call of an offered tool, and nothing else, becomes one. A stream is held back only while its text can
still become that: it begins with `{`, `[`, a fence or the tag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple
from uuid import uuid4

from pydantic_core import from_json, to_json

from corral.gateway.editing import EventEditor, PieceEditor, Successive, WholeEditor
from corral.narrowing import as_list, as_object, as_text
from corral.work import Json

LONGEST_CALL = 2**16
"""Characters of a text that is held back; a longer one is text."""
_BEGINNINGS = ("{", "[", "```", "<tool_call>")
_WRAPPING = re.compile(r"^(?:```[a-z_]*|<tool_call>)\s*(.*?)\s*(?:```|</tool_call>)?$", re.DOTALL)
_DATA = b"data: "


class Call(NamedTuple):
    """A call of a tool."""

    name: str
    arguments: str
    """JSON."""


def list_tools(fields: Mapping[str, Json]) -> frozenset[str]:
    """List the functions that a request offers; none where it wants no call, or several answers."""
    if fields.get("tool_choice") == "none" or fields.get("n") not in (None, 1):
        return frozenset()
    functions = [as_object(as_object(tool).get("function")) for tool in as_list(fields.get("tools"))]
    return frozenset(filter(None, (as_text(function.get("name")) for function in functions)))


def find_calls(text: str, tools: frozenset[str]) -> tuple[Call, ...]:
    """Find the calls that a text is; none where it is anything else."""
    words = text.strip()
    wrapped = _WRAPPING.match(words)
    try:
        said: Json = from_json(wrapped[1] if wrapped else words)
    except ValueError:
        return ()
    entries = [as_object(entry) for entry in (as_list(said) or [said])]
    calls = [_read_call(entry, tools) for entry in entries]
    return tuple(call for call in calls if call is not None) if all(calls) else ()


def _read_call(entry: Mapping[str, Json], tools: frozenset[str]) -> Call | None:
    name, arguments = as_text(entry.get("name")), entry.get("arguments", entry.get("parameters"))
    if name not in tools or not isinstance(arguments, dict):
        return None
    return Call(name, to_json(arguments).decode())


def repair_whole(body: bytes, tools: frozenset[str]) -> bytes:
    """Return an answer whose text is a call as one that has the call."""
    try:
        answer = as_object(from_json(body))
    except ValueError:
        return body
    choices = [as_object(choice) for choice in as_list(answer.get("choices"))]
    message = as_object(choices[0].get("message")) if len(choices) == 1 else {}
    calls = () if message.get("tool_calls") else find_calls(as_text(message.get("content")), tools)
    if not calls:
        return body
    said = {**message, "content": None, "tool_calls": _write_calls(calls)}
    return to_json({**answer, "choices": [{**choices[0], "message": said, "finish_reason": "tool_calls"}]})


def repair_before(translation: PieceEditor, chat: Mapping[str, Json]) -> PieceEditor:
    """Return an editor that repairs the answer to a chat first; `translation` makes another protocol's of that."""
    tools = list_tools(chat)
    if not tools:
        return translation
    if chat.get("stream") is not True:
        return Successive(WholeEditor(partial(repair_whole, tools=tools)), translation)
    repair = StreamRepair(tools)
    return Successive(EventEditor(repair.take_event, end=repair.end), translation)


class StreamRepair:
    """The same for the events of a stream."""

    def __init__(self, tools: frozenset[str]) -> None:
        self._tools = tools
        self._held: list[bytes] = []
        self._text = ""
        self._is_text = False
        """Whether it is none of what is looked for."""

    def take_event(self, event: bytes) -> bytes:
        """Take an event, and return what to send now."""
        if self._is_text or not event:
            return event
        if not event.startswith(_DATA + b"{"):
            return self.end() + event
        try:
            chunk = as_object(from_json(event.removeprefix(_DATA)))
        except ValueError:
            return self._give_up(event)
        choice = as_object(next(iter(as_list(chunk.get("choices"))), None))
        delta = as_object(choice.get("delta"))
        if delta.get("tool_calls") or len(self._text) > LONGEST_CALL:
            return self._give_up(event)
        self._text += as_text(delta.get("content"))
        if choice.get("finish_reason") is not None:
            return self._finish(event, chunk, choice)
        if not self._text.strip():
            return self._hold(event) if self._held or delta.get("content") else event
        return self._hold(event) if _can_be_call(self._text.lstrip()) else self._give_up(event)

    def end(self) -> bytes:
        """Return what is held back."""
        return self._give_up(b"")

    def _finish(self, event: bytes, chunk: Mapping[str, Json], choice: Mapping[str, Json]) -> bytes:
        calls = find_calls(self._text, self._tools)
        if not calls:
            return self._give_up(event)
        self._held.clear()
        self._is_text = True
        said = {**choice, "delta": {"tool_calls": _write_calls(calls, numbered=True)}, "finish_reason": None}
        last: dict[str, Json] = {**choice, "delta": {}, "finish_reason": "tool_calls"}
        facts = {name: chunk[name] for name in ("id", "object", "created", "model") if name in chunk}
        return _write_event({**facts, "choices": [said]}) + _write_event({**chunk, "choices": [last]})

    def _hold(self, event: bytes) -> bytes:
        self._held.append(event)
        return b""

    def _give_up(self, event: bytes) -> bytes:
        held = b"".join(self._held)
        self._held.clear()
        self._is_text = True
        return held + event


def _can_be_call(text: str) -> bool:
    return any(text.startswith(beginning) or beginning.startswith(text) for beginning in _BEGINNINGS)


def _write_calls(calls: Sequence[Call], *, numbered: bool = False) -> list[Json]:
    return [
        {
            **({"index": index} if numbered else {}),
            "id": f"call_{uuid4().hex[:24]}",
            "type": "function",
            "function": call._asdict(),
        }
        for index, call in enumerate(calls)
    ]


def _write_event(chunk: Mapping[str, Json]) -> bytes:
    return _DATA + to_json(chunk) + b"\n\n"
