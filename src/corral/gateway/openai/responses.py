"""OpenAI's Responses over servers that have them, and over those that have chats alone.

Where a server has the call it is passed on; llama-server refuses answers of earlier turns whose content is text
(b11434), so these are spelled out. Where it has not, a chat is asked and its answer translated: text, and calls of
functions. Nothing is stored here, and any slot can serve the next request, so requests that refer to earlier ones are
refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic_core import to_json

from corral.engine_kinds import LLAMA
from corral.errors import CorralError, Kind
from corral.gateway.editing import EventEditor, PieceEditor, WholeEditor
from corral.gateway.openai.requests import Asked, RequestBodyError, require_dialect
from corral.gateway.openai.translated_responses import TranslatedResponse, make_text
from corral.gateway.passing import Prepared
from corral.gateway.tool_calls import repair_before
from corral.narrowing import as_list, as_object, as_text
from corral.slots.guests import Choice
from corral.work import Endpoint, Json

CHAT = "/v1/chat/completions"
_STATEFUL = ("store", "previous_response_id", "conversation", "background")
_OF_CHAT = ("temperature", "top_p", "seed", "user", "metadata", "service_tier", "stop", "parallel_tool_calls")
_NEEDS_THE_CALL = ("include", "reasoning", "prompt")
_CHOICES = ("auto", "none", "required")


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
        chat = self._translate(fields)
        if chat is not None and choice.engine == LLAMA.name and fields.get("tools"):
            return chat  # its server makes a chat of it too, and leaves calls that a small model writes as text
        prepared = passed.prepare(endpoint, choice, counts_tokens=counts_tokens)
        return Prepared(path=prepared.path, body=prepared.body, editor=prepared.editor, otherwise=chat)

    def _translate(self, fields: Mapping[str, Json]) -> Prepared | None:
        """Make the chat; None where it would lose a part of the request."""
        try:
            chat = make_chat(fields)
        except TranslationError:
            return None
        return Prepared(path=CHAT, body=to_json(chat), editor=repair_before(_make_editor(fields), chat))


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
    parts = [make_text(content)] if isinstance(content, str) else content
    spelled: dict[str, Json] = {"type": "message", "status": "completed", **facts, "content": parts}
    return spelled


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
    chat["messages"] = messages + make_messages(items)
    if tools := as_list(fields.get("tools")):
        chat["tools"] = [_make_tool(as_object(tool), number) for number, tool in enumerate(tools)]
        if (choice := fields.get("tool_choice")) is not None:
            chat["tool_choice"] = _make_choice(choice)
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


def make_messages(items: Sequence[Json]) -> list[Json]:
    """Return the items of a conversation as messages of a chat. Raises: TranslationError.

    A chat has the calls of functions in the assistant's message before them, and each result in a message of its own.
    """
    messages: list[dict[str, Json]] = []
    for number, item in enumerate(map(as_object, items)):
        match item.get("type", "message"):
            case "message":
                messages.append(_make_message(item, number))
            case "function_call":
                if not messages or messages[-1]["role"] != "assistant":
                    messages.append({"role": "assistant", "content": None})
                messages[-1].setdefault("tool_calls", []).append(_make_call(item))
            case "function_call_output":
                output = _read_output(item.get("output"), number)
                messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})
            case kind:
                raise TranslationError(
                    f"an item of the type {kind!r} has no meaning in a chat", where=f"input[{number}]"
                )
    return [*messages]


def _make_message(item: Mapping[str, Json], number: int) -> dict[str, Json]:
    role, content = as_text(item.get("role")) or "user", item.get("content")
    if isinstance(content, str):
        return {"role": role, "content": content}
    return {"role": role, "content": [_make_part(as_object(part), number) for part in as_list(content)]}


def _make_call(item: Mapping[str, Json]) -> Json:
    function = {"name": item.get("name"), "arguments": as_text(item.get("arguments"))}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _read_output(output: Json, number: int) -> str:
    """Return what a function gave back as text. Raises: TranslationError."""
    if isinstance(output, str):
        return output
    texts: list[str] = []
    for part in map(as_object, as_list(output)):
        if part.get("type") != "input_text":
            what = f"a result with a part of the type {part.get('type')!r} has no meaning in a chat"
            raise TranslationError(what, where=f"input[{number}].output")
        texts.append(as_text(part.get("text")))
    return "".join(texts)


def _make_tool(tool: Mapping[str, Json], number: int) -> Json:
    if tool.get("type") != "function":
        what = f"a tool of the type {tool.get('type')!r} has no meaning in a chat"
        raise TranslationError(what, where=f"tools[{number}]", hint="offer functions alone")
    kept = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {name: tool[name] for name in kept if tool.get(name) is not None}}


def _make_choice(choice: Json) -> Json:
    if choice in _CHOICES:
        return choice
    wanted = as_object(choice)
    if wanted.get("type") != "function":
        raise TranslationError("it is neither a word nor a function", where="tool_choice")
    return {"type": "function", "function": {"name": wanted.get("name")}}


def _make_part(part: Mapping[str, Json], number: int) -> Json:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": as_text(part.get("text"))}
        case "input_image" if part.get("image_url"):
            return {"type": "image_url", "image_url": {"url": as_text(part["image_url"])}}
        case kind:
            raise TranslationError(f"a part of the type {kind!r} has no meaning in a chat", where=f"input[{number}]")


def _make_editor(fields: Mapping[str, Json]) -> PieceEditor:
    answer = TranslatedResponse(fields)
    if fields.get("stream") is True:
        return EventEditor(answer.take_event, end=answer.end)
    return WholeEditor(answer.take_whole)
