"""The stream of an answer: text, thoughts, tool calls, counts, errors; of chats, and of texts that are continued."""

from __future__ import annotations

from collections.abc import Callable

from corral.engines.narrowing import keep_short
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import EngineError, Json, Reporter

PREVIEW_INTERVAL_S = 0.1
"""More often is more than a person can see; each preview is the whole text so far."""


class Reply:
    """One answer while it is written."""

    def __init__(
        self,
        report: Reporter,
        *,
        program: str,
        max_tokens: int | None,
        refuse: Callable[[dict[str, Json]], EngineError],
        clock: Callable[[], float],
    ) -> None:
        """`program` is the one that answers, for messages; without `max_tokens` the progress is unknown.

        `refuse` translates an error in the stream; `clock` is monotonic, in seconds.
        """
        self._report = report
        self._program = program
        self._max_tokens = max_tokens
        self._refuse = refuse
        self._clock = clock
        self._asked_at = clock()
        self._first_at = self._last_at = 0.0
        self._next_preview_at = 0.0
        self._pieces: list[str] = []
        self._thoughts: list[str] = []
        self._calls: dict[int, dict[str, Json]] = {}
        self._written = 0
        self._finish_reason: str | None = None
        self._usage: dict[str, Json] = {}
        self._timings: dict[str, Json] = {}

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    @property
    def thinking(self) -> str:
        """The model's thoughts so far, where it writes them apart from its answer."""
        return "".join(self._thoughts)

    def take(self, chunk: dict[str, Json]) -> None:
        """Take the next chunk. Raises: EngineError when it is an error."""
        if chunk.get("error"):
            raise self._refuse(chunk)
        self._usage = as_object(chunk.get("usage")) or self._usage
        self._timings = as_object(chunk.get("timings")) or self._timings
        if reading := as_object(chunk.get("prompt_progress")):
            note = f"read {reading.get('processed')} of {reading.get('total')} tokens"
            self._report.progress(0.0, note)
        for choice in map(as_object, as_list(chunk.get("choices"))):
            self._finish_reason = as_text(choice.get("finish_reason")) or self._finish_reason
            self._add(as_object(choice.get("delta")), as_text(choice.get("text")))

    def list_values(self) -> dict[str, Json]:
        """Return the values of the result. Raises: EngineError when the stream ended before the answer did."""
        if self._finish_reason is None:
            raise EngineError(f"{self._program} ended its answer without a reason")
        speed = as_number(self._timings.get("predicted_per_second")) or self._measure_speed()
        values: dict[str, Json] = {
            "text": keep_short(self.text),
            "finish_reason": self._finish_reason,
            "prompt_tokens": self._usage.get("prompt_tokens"),
            "completion_tokens": self._usage.get("completion_tokens"),
            "tokens_per_second": round(speed, 2) if speed else None,
        }
        if self._calls:
            values["tool_calls"] = list(self._calls.values())
        return values

    @property
    def first_token_s(self) -> float | None:
        """Seconds from the request to the first token; None before it."""
        return self._first_at - self._asked_at if self._written else None

    def _measure_speed(self) -> float | None:
        """Return tokens per second from the first one on; None where that cannot be measured."""
        count, seconds = as_number(self._usage.get("completion_tokens")), self._last_at - self._first_at
        return (count - 1) / seconds if count is not None and count > 1 and self._written > 1 and seconds > 0 else None

    def _add(self, delta: dict[str, Json], text: str) -> None:
        """Add the next part of a chat (`delta`), or of a text that is continued."""
        piece = text or as_text(delta.get("content"))
        thought = as_text(delta.get("reasoning_content")) or as_text(delta.get("reasoning"))
        calls = as_list(delta.get("tool_calls"))
        if not (piece or thought or calls):
            return
        self._pieces.append(piece)
        self._thoughts.append(thought)
        for call in map(as_object, calls):
            self._add_call(call)
        self._written += 1  # one token each, as servers stream unless they guess several at once
        self._report_progress()
        now = self._last_at = self._clock()
        if self._written == 1:
            self._first_at = now
        if piece and now >= self._next_preview_at:
            self._next_preview_at = now + PREVIEW_INTERVAL_S
            self._report.preview("text/plain; charset=utf-8", self.text.encode())

    def _report_progress(self) -> None:
        if self._max_tokens is None:
            self._report.progress(None, f"{self._written} tokens")
            return
        written = min(self._written, self._max_tokens)
        self._report.progress(written / self._max_tokens, f"{written} of at most {self._max_tokens} tokens")

    def _add_call(self, delta: dict[str, Json]) -> None:
        """Join the pieces of a call: its name comes first, then its arguments as text, piece by piece."""
        call = self._calls.setdefault(
            int(as_number(delta.get("index")) or 0),
            {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
        )
        call["id"] = as_text(delta.get("id")) or call["id"]
        function = as_object(delta.get("function"))
        for name in ("name", "arguments"):
            call["function"][name] += as_text(function.get(name))
