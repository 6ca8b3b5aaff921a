"""Answers of servers that speak OpenAI's protocol, as Ollama's clients read them: whole, or line by line; pure.

Counts and durations are those that the server reports, or what was measured here (`took`); what is neither is left out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic_core import from_json

from corral.gateway.editing import LARGEST_EVENT
from corral.gateway.usage import Tokens
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import Json

_DATA = b"data:"
_DONE_REASONS = {"length": "length"}
"""Ollama's own reasons are `stop`, `length`, `load` and `unload`: a call of a tool is a stop there."""
_MS_NS = 1_000_000


def write_now() -> str:
    """Return the present time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass(kw_only=True)
class ReplyClock:
    """Measures one answer: from the request, over its first words, to its end."""

    clock: Callable[[], int] = time.perf_counter_ns
    asked_at: int = field(init=False)
    """When the request arrived, in nanoseconds of the clock."""
    sent_at: int | None = None
    """When a server was asked, with its model in memory."""
    began_at: int | None = None
    """When the first words came."""

    def __post_init__(self) -> None:
        self.asked_at = self.clock()

    def note_sent(self) -> None:
        """Note that a server is asked now."""
        self.sent_at = self.clock()

    def note_begun(self) -> None:
        """Note the first words."""
        if self.began_at is None:
            self.began_at = self.clock()

    def list_durations(self, timings: Mapping[str, Json]) -> dict[str, Json]:
        """List the durations of the last line, in nanoseconds; `timings` is what llama.cpp's server measured itself.

        When the first words came is unknown of an answer that came whole.
        """
        now, sent, began = self.clock(), self.sent_at, self.began_at
        read, wrote = as_number(timings.get("prompt_ms")), as_number(timings.get("predicted_ms"))
        durations = {
            "total_duration": now - self.asked_at,
            "load_duration": None if sent is None else sent - self.asked_at,
            "prompt_eval_duration": None if sent is None or began is None else began - sent,
            "eval_duration": None if began is None else now - began,
        }
        if read is not None and wrote is not None:
            durations |= {"prompt_eval_duration": int(read * _MS_NS), "eval_duration": int(wrote * _MS_NS)}
        return {name: duration for name, duration in durations.items() if duration is not None}


class UpstreamLineError(Exception):
    """The server's answer is not what its protocol has."""


@dataclass(kw_only=True)
class _Call:
    """A call of a tool that is being written."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(kw_only=True)
class Words:
    """How one call of Ollama's API carries text: in a message (`chat`), or as it is."""

    model: str
    """As the client called it."""
    is_chat: bool
    hides_thinking: bool = False
    """Whether the client asked not to think: what a server thinks nevertheless is left out."""

    def write(
        self,
        text: str = "",
        *,
        thinking: str = "",
        calls: list[Json] | None = None,
        **rest: Json,
    ) -> dict[str, Json]:
        """Return a line; `done` is false unless `rest` says otherwise."""
        thought: dict[str, Json] = {"thinking": thinking} if thinking and not self.hides_thinking else {}
        called: dict[str, Json] = {"tool_calls": calls} if calls else {}
        words: dict[str, Json]
        if self.is_chat:
            words = {"message": {"role": "assistant", "content": text, **thought, **called}}
        else:
            words = {"response": text, **thought}
        return {"model": self.model, "created_at": write_now(), **words, "done": False, **rest}


class StreamTranslator:
    """Turns the events of one stream into lines, as its pieces arrive; a `PieceEditor`."""

    def __init__(self, words: Words, clock: ReplyClock) -> None:
        self._words = words
        self._clock = clock
        self._rest = b""
        self._calls: dict[int, _Call] = {}
        self._usage: dict[str, Json] = {}
        self._timings: dict[str, Json] = {}
        self._reason: str | None = None
        self._is_over = False

    @property
    def tokens(self) -> Tokens:
        """The tokens that the stream counts."""
        return _read_tokens(self._usage)

    def edit(self, piece: bytes) -> bytes:
        """Return the lines of the events that are whole by now."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LARGEST_EVENT:
            return self._fail(f"an event of the server has more than {LARGEST_EVENT} bytes")
        return b"".join(self._take(line.strip()) for line in whole)

    def finish(self) -> bytes:
        """Return the last line, or the error of a stream that ended before its answer did."""
        last = self._take(self._rest.strip())
        self._rest = b""
        if self._is_over:
            return last
        self._is_over = True
        if self._reason is None:
            return last + write_line({"error": "the server's answer ended in its midst"})
        try:
            calls = list(self._close_calls())
        except UpstreamLineError as error:
            return last + write_line({"error": str(error)})
        called = write_line(self._words.write(calls=calls)) if calls else b""
        return (
            last
            + called
            + write_line(
                self._words.write(
                    **_end(self._reason, self._usage, self._clock.list_durations(self._timings)),
                )
            )
        )

    def _take(self, line: bytes) -> bytes:
        if self._is_over or not line.startswith(_DATA):
            return b""
        data = line[len(_DATA) :].strip()
        if data == b"[DONE]":
            return b""
        try:
            event = as_object(from_json(data))
        except ValueError:
            return self._fail("the server's answer is not JSON")
        if event.get("error"):
            return self._fail(read_error(event) or "the server failed")
        self._usage = as_object(event.get("usage")) or self._usage
        self._timings = as_object(event.get("timings")) or self._timings
        choices = as_list(event.get("choices"))
        return self._take_choice(as_object(choices[0])) if choices else b""

    def _take_choice(self, choice: dict[str, Json]) -> bytes:
        delta = as_object(choice.get("delta"))
        text = as_text(delta.get("content")) or as_text(choice.get("text"))
        thinking = read_thinking(delta)
        self._add_calls(as_list(delta.get("tool_calls")))
        self._reason = as_text(choice.get("finish_reason")) or self._reason
        if not text and (not thinking or self._words.hides_thinking):
            return b""
        self._clock.note_begun()
        return write_line(self._words.write(text, thinking=thinking, **_read_logprobs(choice)))

    def _add_calls(self, pieces: list[Json]) -> None:
        for piece in map(as_object, pieces):
            number = as_number(piece.get("index"))
            call = self._calls.setdefault(len(self._calls) if number is None else int(number), _Call())
            function = as_object(piece.get("function"))
            call.id = call.id or as_text(piece.get("id"))
            call.name += as_text(function.get("name"))
            call.arguments += as_text(function.get("arguments"))

    def _close_calls(self) -> list[Json]:
        calls = [self._calls[number] for number in sorted(self._calls)]
        return [write_call(n, call.id, call.name, call.arguments) for n, call in enumerate(calls)]

    def _fail(self, what: str) -> bytes:
        self._is_over = True
        return write_line({"error": what})


def translate_whole(body: bytes, words: Words, clock: ReplyClock) -> dict[str, Json]:
    """Translate a chat or a text that was not streamed. Raises: UpstreamLineError."""
    answer = _read_answer(body)
    choices = as_list(answer.get("choices"))
    if not choices:
        raise UpstreamLineError(read_error(answer) or "the server's answer has no choice")
    choice = as_object(choices[0])
    message = as_object(choice.get("message"))
    given = [as_object(call) for call in as_list(message.get("tool_calls"))]
    calls: list[Json] = []
    for number, call in enumerate(given):
        function = as_object(call.get("function"))
        calls.append(
            write_call(
                number, as_text(call.get("id")), as_text(function.get("name")), as_text(function.get("arguments"))
            )
        )
    durations = clock.list_durations(as_object(answer.get("timings")))
    return words.write(
        as_text(message.get("content")) or as_text(choice.get("text")),
        thinking=read_thinking(message),
        calls=calls,
        **_read_logprobs(choice),
        **_end(as_text(choice.get("finish_reason")), as_object(answer.get("usage")), durations),
    )


def translate_vectors(body: bytes, model: str, clock: ReplyClock, *, is_old: bool) -> dict[str, Json]:
    """Translate vectors, in the order of their texts; the older call has one alone. Raises: UpstreamLineError."""
    answer = _read_answer(body)
    entries = [as_object(entry) for entry in as_list(answer.get("data"))]
    if not entries:
        raise UpstreamLineError(read_error(answer) or "the server's answer has no vectors")
    vectors = [as_list(entry.get("embedding")) for entry in sorted(entries, key=_read_index)]
    if is_old:
        return {"embedding": vectors[0]}
    durations = clock.list_durations({})
    counted = as_number(as_object(answer.get("usage")).get("prompt_tokens"))
    count: dict[str, Json] = {} if counted is None else {"prompt_eval_count": int(counted)}
    return {"model": model, "embeddings": vectors, **durations, **count}


def write_call(number: int, id: str, name: str, arguments: str) -> dict[str, Json]:
    """Write a call of a tool; Ollama has its arguments as an object. Raises: UpstreamLineError."""
    try:
        given: Json = from_json(arguments) if arguments.strip() else {}
    except ValueError as error:
        raise UpstreamLineError(f"the model calls {name!r} with arguments that are not JSON") from error
    if not isinstance(given, dict):
        raise UpstreamLineError(f"the model calls {name!r} with arguments that are not an object")
    named: dict[str, Json] = {"index": number, "name": name, "arguments": given}
    return {**({"id": id} if id else {}), "function": named}


def read_thinking(message: Mapping[str, Json]) -> str:
    """Return what a model thought: llama.cpp, vLLM and SGLang say `reasoning_content`, OpenRouter and newer vLLM
    `reasoning`."""
    return as_text(message.get("reasoning_content")) or as_text(message.get("reasoning"))


def read_error(answer: Mapping[str, Json]) -> str:
    """Return the text of an error in any of the shapes that servers have; empty where there is none."""
    error = answer.get("error")
    return as_text(as_object(error).get("message")) or as_text(error) or as_text(answer.get("detail"))


def write_line(value: Json) -> bytes:
    """Write one line of a stream."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _end(reason: str, usage: Mapping[str, Json], durations: Mapping[str, Json]) -> dict[str, Json]:
    tokens = _read_tokens(usage)
    counts: dict[str, Json] = {"prompt_eval_count": tokens.prompt, "eval_count": tokens.completion}
    known = {name: count for name, count in counts.items() if count is not None}
    return {"done": True, "done_reason": _DONE_REASONS.get(reason, "stop"), **durations, **known}


def _read_tokens(usage: Mapping[str, Json]) -> Tokens:
    prompt, completion = as_number(usage.get("prompt_tokens")), as_number(usage.get("completion_tokens"))
    return Tokens(
        prompt=None if prompt is None else int(prompt), completion=None if completion is None else int(completion)
    )


def _read_logprobs(choice: Mapping[str, Json]) -> dict[str, Json]:
    content = as_list(as_object(choice.get("logprobs")).get("content"))
    return {"logprobs": content} if content else {}


def _read_index(entry: Mapping[str, Json]) -> float:
    return as_number(entry.get("index")) or 0


def _read_answer(body: bytes) -> dict[str, Json]:
    try:
        return as_object(from_json(body))
    except ValueError as error:
        raise UpstreamLineError("the server's answer is not JSON") from error
