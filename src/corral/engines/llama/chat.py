"""Requests to llama.cpp's server, and what it streams back: text, counts, errors."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from corral.engines.worker.job import Talk
from corral.work import EngineError, TaskInvalidError

Chunk = dict[str, Any]  # Any: JSON of llama.cpp's server, in the shape of OpenAI's streams


def make_chat_request(inputs: Mapping[str, Any]) -> Chunk:  # Any: JSON
    """Turn checked inputs into a request of llama.cpp's server."""
    messages = inputs["messages"] or [{"role": "user", "content": inputs["prompt"]}]
    system = [{"role": "system", "content": inputs["system"]}] if inputs["system"] is not None else []
    request = {
        "messages": [*system, *messages],
        "max_tokens": inputs["max_tokens"],
        "temperature": inputs["temperature"],
        "top_p": inputs["top_p"],
        "stop": inputs["stop"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # so that a cancel is noticed while a long prompt is read
    }
    if inputs["seed"] is not None:
        # A cached prefix is computed in other batches, which changes the last bits, and so in the end the text.
        request |= {"seed": inputs["seed"], "cache_prompt": False}
    if inputs["json_schema"] is not None:
        request["response_format"] = {"type": "json_schema", "json_schema": {"schema": inputs["json_schema"]}}
    return request


class Reply:
    """One answer while it is written."""

    def __init__(self, talk: Talk, *, max_tokens: int) -> None:
        self._talk = talk
        self._max_tokens = max_tokens
        self._pieces: list[str] = []
        self._finish_reason: str | None = None
        self._usage: Chunk = {}
        self._timings: Chunk = {}
        self._error: Chunk | None = None
        self._broken: Exception | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    def take(self, chunk: Chunk) -> bool:
        """Take the next chunk; True ends the stream. Never raises: the library would swallow it and go on."""
        try:
            self._read(chunk)
        except Exception as error:  # noqa: BLE001 - see above; `raise_error` raises it where it is handled
            traceback.print_exc()
            self._broken = error
        return self._talk.cancelled or self._broken is not None

    def raise_error(self) -> None:
        """Raise what went wrong, if anything did. Raises: EngineError."""
        if self._broken is not None:
            raise EngineError(f"llama.cpp's answer cannot be read: {self._broken!r}") from self._broken
        if self._error is not None:
            what = f"llama.cpp failed: {self._error.get('message')}"
            raise TaskInvalidError(what) if int(self._error.get("code", 500)) < 500 else EngineError(what)
        if self._finish_reason is None:
            raise EngineError("llama.cpp ended its answer without a reason")

    def list_values(self) -> dict[str, Any]:  # Any: JSON
        """Return the values of the result."""
        speed = self._timings.get("predicted_per_second")
        return {
            "text": self.text,
            "finish_reason": self._finish_reason,
            "prompt_tokens": self._usage.get("prompt_tokens"),
            "completion_tokens": self._usage.get("completion_tokens"),
            "tokens_per_second": round(speed, 2) if speed else None,
        }

    def _read(self, chunk: Chunk) -> None:
        self._error = chunk.get("error") or self._error
        self._usage = chunk.get("usage") or self._usage
        self._timings = chunk.get("timings") or self._timings
        if reading := chunk.get("prompt_progress"):
            self._talk.report_progress(0.0, f"read {reading['processed']} of {reading['total']} tokens")
        for choice in chunk.get("choices", ()):
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            if piece := choice.get("delta", {}).get("content"):
                self._add(piece)

    def _add(self, piece: str) -> None:
        self._pieces.append(piece)  # one token each, as llama.cpp streams
        written = min(len(self._pieces), self._max_tokens)
        self._talk.report_progress(written / self._max_tokens, f"{written} of at most {self._max_tokens} tokens")
        self._talk.show_preview("text/plain; charset=utf-8", lambda: self.text.encode())
