"""Responses that are made of the answers to chats, whole or event by event.

A response is a list of items: the message, and the calls of functions, in the order in which the chat begins them. A
chat can go back to an item that it has begun, so all of them end with the stream.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from pydantic_core import from_json, to_json

from corral.gateway.upstream import UpstreamError
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import Json


def make_text(text: str) -> Json:
    """Return a part of a message that a model wrote."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


@dataclass(slots=True)
class _Message:
    """The words of the model."""

    id: str = field(default_factory=lambda: f"msg_{uuid4().hex}")
    pieces: list[str] = field(default_factory=list[str])

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def describe(self, status: str) -> dict[str, Json]:
        """Return it as an item; one that has only begun has no content."""
        content = [] if status == "in_progress" else [make_text(self.text)]
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}


@dataclass(slots=True)
class _Call:
    """A call of a function."""

    call: str
    """Its id in the chat, which its result names."""
    name: str
    id: str = field(default_factory=lambda: f"fc_{uuid4().hex}")
    pieces: list[str] = field(default_factory=list[str])

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    def describe(self, status: str) -> dict[str, Json]:
        """Return it as an item."""
        return {
            "id": self.id,
            "type": "function_call",
            "status": status,
            "call_id": self.call,
            "name": self.name,
            "arguments": self.arguments,
        }


class TranslatedResponse:
    """A response that is made of the answer to a chat."""

    def __init__(self, fields: Mapping[str, Json]) -> None:
        """`fields` are those of the request for a response."""
        self._id = f"resp_{uuid4().hex}"
        self._created_at = int(time.time())
        self._model = fields.get("model")
        calls_at_once = fields.get("parallel_tool_calls")
        self._given = {
            "instructions": fields.get("instructions"),
            "max_output_tokens": fields.get("max_output_tokens"),
            "metadata": fields.get("metadata") or {},
            "temperature": fields.get("temperature"),
            "top_p": fields.get("top_p"),
            "text": fields.get("text") or {"format": {"type": "text"}},
            "parallel_tool_calls": True if calls_at_once is None else calls_at_once,
            "tool_choice": fields.get("tool_choice") or "auto",
            "tools": fields.get("tools") or [],
            "store": False,
        }
        self._items: list[_Message | _Call] = []
        self._calls: dict[int, _Call] = {}
        """The newest call of each index in the chat."""
        self._finish = "stop"
        self._usage: dict[str, Json] = {}
        self._number = 0
        self._is_open = False
        self._error: Json = None

    def take_whole(self, body: bytes) -> bytes:
        """Return the whole answer to a chat as a response. Raises: UpstreamError."""
        self._take(_read(body), "message")
        self._open_message_if_empty()
        return to_json(self._describe(self._find_status()))

    def take_event(self, event: bytes) -> bytes:
        """Return the events that follow from one of a chat. Raises: UpstreamError."""
        data = event.strip().removeprefix(b"data:").strip()
        if not data.startswith(b"{"):
            return b""  # comments, and the mark of the end
        chunk = _read(data)
        opened = b"" if self._is_open else self._open()
        if "error" in chunk:
            self._error = chunk["error"]
            return opened
        return opened + self._take(chunk, "delta")

    def end(self) -> bytes:
        """Return the events after the last one of the chat."""
        opened = b"" if self._is_open else self._open()
        if self._error is not None:
            error = as_object(self._error)
            failure = {"code": "server_error", "message": as_text(error.get("message")) or "the server failed"}
            return opened + self._say("failed", response=self._describe("failed", error=failure))
        opened += self._open_message_if_empty()
        status = self._find_status()
        ends = [self._end_item(index, item, status) for index, item in enumerate(self._items)]
        return b"".join((opened, *ends, self._say(status, response=self._describe(status))))

    def _open(self) -> bytes:
        self._is_open = True
        created = self._say("created", response=self._describe("in_progress"))
        return created + self._say("in_progress", response=self._describe("in_progress"))

    def _open_message_if_empty(self) -> bytes:
        """A response has an item at least: clients look for its text."""
        return b"" if self._items else self._add_text("")

    def _end_item(self, index: int, item: _Message | _Call, status: str) -> bytes:
        described = item.describe(status)
        if isinstance(item, _Call):
            place = {"item_id": item.id, "output_index": index}
            done = self._say("function_call_arguments.done", **place, name=item.name, arguments=item.arguments)
        else:
            place = {"item_id": item.id, "output_index": index, "content_index": 0}
            done = self._say("output_text.done", **place, text=item.text, logprobs=[])
            done += self._say("content_part.done", **place, part=make_text(item.text))
        return done + self._say("output_item.done", output_index=index, item=described)

    # --- what a chat says ---------------------------------------------------------------------------------------------

    def _take(self, answer: Mapping[str, Json], name: str) -> bytes:
        """Take what a chat, or a piece of one, says; return the events of it."""
        choice = as_object(next(iter(as_list(answer.get("choices"))), None))
        said = as_object(choice.get(name))
        self._finish = as_text(choice.get("finish_reason")) or self._finish
        self._usage = as_object(answer.get("usage")) or self._usage
        text = as_text(said.get("content"))
        events = self._add_text(text) if text else b""
        calls = map(as_object, as_list(said.get("tool_calls")))
        return events + b"".join(self._add_call(call, place) for place, call in enumerate(calls))

    def _add_text(self, text: str) -> bytes:
        index = next((index for index, item in enumerate(self._items) if isinstance(item, _Message)), None)
        events = b""
        if index is None:
            index, message = len(self._items), _Message()
            self._items.append(message)
            events = self._say("output_item.added", output_index=index, item=message.describe("in_progress"))
            place = {"item_id": message.id, "output_index": index, "content_index": 0}
            events += self._say("content_part.added", **place, part=make_text(""))
        item = self._items[index]
        if not text:
            return events
        item.pieces.append(text)
        place = {"item_id": item.id, "output_index": index, "content_index": 0}
        return events + self._say("output_text.delta", **place, delta=text, logprobs=[])

    def _add_call(self, said: Mapping[str, Json], place: int) -> bytes:
        """Take a call, or a piece of one: the first has its id and its name.

        Servers that give every call the index 0 are known by the ids of calls.
        """
        given, function = as_text(said.get("id")), as_object(said.get("function"))
        number = int(as_number(said.get("index", place)) or 0)
        call, events = self._calls.get(number), b""
        if call is None or (given and given != call.call):
            call = self._calls[number] = _Call(given or f"call_{uuid4().hex}", as_text(function.get("name")))
            self._items.append(call)
            index = len(self._items) - 1
            events = self._say("output_item.added", output_index=index, item=call.describe("in_progress"))
        arguments = function.get("arguments")
        piece = arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments is not None else ""
        if not piece:
            return events
        call.pieces.append(piece)
        at = {"item_id": call.id, "output_index": self._items.index(call)}
        return events + self._say("function_call_arguments.delta", **at, delta=piece)

    # --- what is said -------------------------------------------------------------------------------------------------

    def _find_status(self) -> str:
        return "incomplete" if self._finish == "length" else "completed"

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
            "output": [item.describe(status) for item in self._items] if is_over else [],
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


def _read(text: bytes) -> dict[str, Json]:
    """Return an object that a server sent. Raises: UpstreamError."""
    try:
        return as_object(from_json(text))
    except ValueError as error:
        raise UpstreamError("the server sent something that is not JSON") from error
