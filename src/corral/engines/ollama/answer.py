"""An answer while it is written: text, thoughts, calls of tools, and the counts that come last; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from corral.engines.answers import as_list, as_number, as_object, as_text
from corral.engines.ollama.errors import GenerationFailedError, failure
from corral.work import Json

LONGEST_VALUE = 200_000
"""Characters of text kept with the task itself; a longer one is in its file only."""


@dataclass(slots=True)
class Answer:
    """What has come so far."""

    where: str
    limit: int | None
    """Tokens that the task allows, or None where it sets no bound."""
    text: list[str] = field(default_factory=list[str])
    thinking: list[str] = field(default_factory=list[str])
    tool_calls: list[Json] = field(default_factory=list[Json])
    pieces: int = 0
    last: Mapping[str, Json] | None = None

    def take(self, line: dict[str, Json]) -> str:
        """Take one line of the stream; return the text it adds. Raises: EngineError when the line is an error."""
        if "error" in line:
            raise failure(as_text(line["error"]) or "an error without a message", where=self.where)
        message = as_object(line.get("message"))
        piece = as_text(message.get("content")) or as_text(line.get("response"))
        thought = as_text(message.get("thinking")) or as_text(line.get("thinking"))
        self.text.append(piece)
        self.thinking.append(thought)
        self.tool_calls += as_list(message.get("tool_calls"))
        self.pieces += bool(piece or thought)
        if line.get("done") is True:
            self.last = line
        return piece

    @property
    def fraction(self) -> float | None:
        """Pieces (a token each) over those allowed; None where there is no bound."""
        return None if not self.limit else min(self.pieces / self.limit, 1.0)

    def values(self) -> dict[str, Json]:
        """Summarize a finished answer. Raises: GenerationFailedError when the stream broke off before its end."""
        if self.last is None:
            what = f"the answer broke off after {self.pieces} tokens"
            raise GenerationFailedError(
                what, where=self.where, hint="look at the server's log: its runner may have died"
            )
        text = "".join(self.text)
        values: dict[str, Json] = {
            "text": text if len(text) <= LONGEST_VALUE else None,
            "finish_reason": as_text(self.last.get("done_reason")) or "stop",
            "prompt_tokens": self.last.get("prompt_eval_count"),
            "completion_tokens": self.last.get("eval_count"),
            "tokens_per_second": _speed(self.last),
            "load_s": _seconds(self.last, "load_duration"),
        }
        return {**values, "tool_calls": self.tool_calls} if self.tool_calls else values


def token_limit(options: Mapping[str, Json]) -> int | None:
    """Return `num_predict` where it bounds the answer; -1 and -2 do not."""
    limit = options.get("num_predict")
    return limit if isinstance(limit, int) and limit > 0 else None


def _speed(last: Mapping[str, Json]) -> float | None:
    count, seconds = as_number(last.get("eval_count")), _seconds(last, "eval_duration")
    return round(count / seconds, 2) if count and seconds else None


def _seconds(last: Mapping[str, Json], name: str) -> float | None:
    nanoseconds = as_number(last.get(name))
    return None if nanoseconds is None else nanoseconds / 1e9
