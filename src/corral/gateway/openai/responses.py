"""OpenAI's Responses over servers that have them, and over those that have chats alone.

Where a server has the call it is passed on; llama-server refuses answers of earlier turns whose content is text
(b11434), so these are spelled out. Where it has not, a chat is asked and its answer translated: text alone. Nothing is
stored here, and any slot can serve the next request, so requests that refer to earlier ones are refused by name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import ClassVar
from uuid import uuid4

from pydantic_core import to_json

from corral.errors import CorralError, Kind
from corral.gateway.editing import EventEditor, WholeEditor
from corral.gateway.openai.requests import Asked, RequestBodyError, require_dialect
from corral.gateway.passing import PieceEditor, Prepared
from corral.narrowing import as_list, as_object, as_text
from corral.slots.guests import Choice
from corral.work import Endpoint, Json

CHAT = "/v1/chat/completions"
_STATEFUL = ("store", "previous_response_id", "conversation", "background")
_OF_CHAT = ("temperature", "top_p", "seed", "user", "metadata", "service_tier", "stop", "parallel_tool_calls")
_NEEDS_THE_CALL = ("tools", "include", "reasoning", "prompt")


class TranslationError(CorralError):
    """A request has parts that cannot be asked as a chat."""

    code: ClassVar[str] = "gateway.untranslatable"
    kind: ClassVar[Kind] = Kind.INVALID


class AskedResponse:
    """A request for a response."""

    def __init__(self, asked: Asked) -> None:
        """Raises: RequestBodyError for what would have to be stored."""
        self._asked = asked
        for name in _STATEFUL:
            if asked.fields.get(name):
                hint = "send the whole conversation as `input`"
                raise RequestBodyError(f"`{name}` needs answers that are stored, and none are", where=name, hint=hint)

    def prepare(self, endpoint: Endpoint, choice: Choice, *, counts_tokens: bool) -> Prepared:
        """Make it for one server, and the chat to ask where that lacks the call. Raises: CallMissingError."""
        require_dialect(endpoint, choice)
        fields = {**self._asked.fields, "store": False, "model": endpoint.model or choice.model or self._asked.model}
        passed = Asked(self._asked.path, to_json({**fields, "input": spell_out(fields.get("input"))}))
        prepared = passed.prepare(endpoint, choice, counts_tokens=counts_tokens)
        return Prepared(
            path=prepared.path,
            body=prepared.body,
            editor=prepared.editor,
            otherwise=self._translate(fields),
        )

    def _translate(self, fields: Mapping[str, Json]) -> Prepared | None:
        """Make the chat; None where it would lose a part of the request."""
        try:
            body = to_json(make_chat(fields))
        except TranslationError:
            return None
        return Prepared(path=CHAT, body=body, editor=_make_editor(fields))


def spell_out(given: Json) -> Json:
    """Return an input whose answers of earlier turns are lists of parts with their type."""
    if not isinstance(given, list):
        return given
    return [_spell_out_item(item) for item in as_list(given)]


def _spell_out_item(item: Json) -> Json:
    facts = as_object(item)
    if facts.get("role") != "assistant":
        return item
    content = facts.get("content")
    parts = [_make_text(content)] if isinstance(content, str) else content
    spelled: dict[str, Json] = {"type": "message", "status": "completed", **facts, "content": parts}
    return spelled


def _make_text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def make_chat(fields: Mapping[str, Json]) -> dict[str, Json]:
    """Return the chat that asks for the same. Raises: TranslationError."""
    for name in _NEEDS_THE_CALL:
        if fields.get(name):
            raise TranslationError(f"`{name}` has no meaning in a chat", where=name)
    chat: dict[str, Json] = {name: fields[name] for name in ("model", *_OF_CHAT) if fields.get(name) is not None}
    messages: list[Json] = []
    if instructions := as_text(fields.get("instructions")):
        messages.append({"role": "system", "content": instructions})
    given = fields.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else as_list(given)
    chat["messages"] = messages + [_make_message(as_object(item), number) for number, item in enumerate(items)]
    if (most := fields.get("max_output_tokens")) is not None:
        chat["max_tokens"] = most
    form = as_object(as_object(fields.get("text")).get("format"))
    if form.get("type") == "json_schema":
        named = {key: value for key, value in form.items() if key != "type"}
        chat["response_format"] = {"type": "json_schema", "json_schema": named}
    elif form.get("type") == "json_object":
        chat["response_format"] = {"type": "json_object"}
    if fields.get("stream") is True:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return chat


def _make_message(item: Mapping[str, Json], number: int) -> Json:
    if item.get("type", "message") != "message":
        what = f"an item of the type {as_text(item.get('type'))!r} has no meaning in a chat"
        raise TranslationError(what, where=f"input[{number}]")
    role, content = as_text(item.get("role")) or "user", item.get("content")
    if isinstance(content, str):
        return {"role": role, "content": content}
    return {"role": role, "content": [_make_part(as_object(part), number) for part in as_list(content)]}


def _make_part(part: Mapping[str, Json], number: int) -> Json:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": as_text(part.get("text"))}
        case "input_image" if part.get("image_url"):
            return {"type": "image_url", "image_url": {"url": as_text(part["image_url"])}}
        case kind:
            raise TranslationError(f"a part of the type {kind!r} has no meaning in a chat", where=f"input[{number}]")


# --- answers ---------------------------------------------------------------------------------------------------------


def _make_editor(fields: Mapping[str, Json]) -> PieceEditor:
    answer = TranslatedResponse(fields)
    if fields.get("stream") is True:
        return EventEditor(answer.take_event, end=answer.end)
    return WholeEditor(answer.take_whole)


class TranslatedResponse:
    """A response that is made of the answer to a chat."""

    def __init__(self, fields: Mapping[str, Json]) -> None:
        self._id = f"resp_{uuid4().hex}"
        self._item = f"msg_{uuid4().hex}"
        self._created_at = int(time.time())
        self._model = fields.get("model")
        self._given = {
            "instructions": fields.get("instructions"),
            "max_output_tokens": fields.get("max_output_tokens"),
            "metadata": fields.get("metadata") or {},
            "temperature": fields.get("temperature"),
            "top_p": fields.get("top_p"),
            "text": fields.get("text") or {"format": {"type": "text"}},
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "store": False,
        }
        self._text: list[str] = []
        self._finish = "stop"
        self._usage: dict[str, Json] = {}
        self._number = 0
        self._is_open = False
        self._error: Json = None

    def take_whole(self, body: bytes) -> bytes:
        """Return the whole answer to a chat as a response."""
        answer = as_object(json.loads(body))
        self._take_choice(answer, "message")
        return to_json(self._describe("incomplete" if self._finish == "length" else "completed"))

    def take_event(self, event: bytes) -> bytes:
        """Return the events that follow from one of a chat."""
        data = event.strip().removeprefix(b"data:").strip()
        if not data.startswith(b"{"):
            return b""  # comments, and the mark of the end
        chunk = as_object(json.loads(data))
        opened = b"" if self._is_open else self._open()
        if "error" in chunk:
            self._error = chunk["error"]
            return opened
        delta = self._take_choice(chunk, "delta")
        place = {"item_id": self._item, "output_index": 0, "content_index": 0}
        return opened + (self._say("output_text.delta", **place, delta=delta, logprobs=[]) if delta else b"")

    def end(self) -> bytes:
        """Return the events after the last one of the chat."""
        opened = b"" if self._is_open else self._open()
        if self._error is not None:
            error = as_object(self._error)
            failure = {"code": "server_error", "message": as_text(error.get("message")) or "the server failed"}
            return opened + self._say("failed", response=self._describe("failed", error=failure))
        status = "incomplete" if self._finish == "length" else "completed"
        item = self._make_item(status)
        place = {"item_id": self._item, "output_index": 0, "content_index": 0}
        return b"".join(
            (
                opened,
                self._say("output_text.done", **place, text=self._join(), logprobs=[]),
                self._say("content_part.done", **place, part=item["content"][0]),
                self._say("output_item.done", output_index=0, item=item),
                self._say(status, response=self._describe(status)),
            )
        )

    def _open(self) -> bytes:
        self._is_open = True
        item: dict[str, Json] = {**self._make_item("in_progress"), "content": []}
        part = _make_text("")
        return b"".join(
            (
                self._say("created", response=self._describe("in_progress")),
                self._say("in_progress", response=self._describe("in_progress")),
                self._say("output_item.added", output_index=0, item=item),
                self._say("content_part.added", item_id=self._item, output_index=0, content_index=0, part=part),
            )
        )

    def _take_choice(self, answer: Mapping[str, Json], name: str) -> str:
        """Take what a chat, or a piece of one, says; return its text."""
        choice = as_object(next(iter(as_list(answer.get("choices"))), None))
        text = as_text(as_object(choice.get(name)).get("content"))
        self._text += [text] if text else []
        self._finish = as_text(choice.get("finish_reason")) or self._finish
        self._usage = as_object(answer.get("usage")) or self._usage
        return text

    def _join(self) -> str:
        return "".join(self._text)

    def _make_item(self, status: str) -> dict[str, Json]:
        part = _make_text(self._join())
        return {"id": self._item, "type": "message", "status": status, "role": "assistant", "content": [part]}

    def _describe(self, status: str, *, error: Json = None) -> dict[str, Json]:
        is_over = status in ("completed", "incomplete")
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created_at,
            "status": status,
            "error": error,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": self._model,
            "output": [self._make_item(status)] if is_over else [],
            "usage": self._count() if is_over else None,
            "previous_response_id": None,
            **self._given,
        }

    def _count(self) -> Json:
        """Return the counts in the words of responses; null where the chat had none."""
        if not self._usage:
            return None
        read, written = self._usage.get("prompt_tokens") or 0, self._usage.get("completion_tokens") or 0
        cached = as_object(self._usage.get("prompt_tokens_details")).get("cached_tokens") or 0
        return {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        }

    def _say(self, kind: str, **facts: Json) -> bytes:
        name = f"response.{kind}"
        event = to_json({"type": name, "sequence_number": self._number, **facts})
        self._number += 1
        return b"event: " + name.encode() + b"\ndata: " + event + b"\n\n"
