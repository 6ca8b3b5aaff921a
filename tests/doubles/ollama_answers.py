"""The answers of `doubles.ollama`, and its refusals: pure."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from aiohttp import web

from doubles.ollama_models import HeldModel, find_wrong_option

Json = Any


def embedding(text: str) -> list[float]:
    """The double's embedding of a text, of length 1."""
    numbers = [byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:4]]
    return [number / math.hypot(*numbers) for number in numbers]


def asks_to_unload(body: Json) -> bool:
    return body.get("keep_alive") == 0 and not body.get("prompt") and not body.get("messages")


def fail(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def find_missing_capability(body: Json, model: HeldModel, call: str) -> web.Response | None:
    has = model.capabilities
    if call != "embed" and body.get("think") and "thinking" not in has:
        return fail(400, f'"{body["model"]}" does not support thinking')
    if call != "embed" and "completion" not in has:
        return fail(400, f'"{body["model"]}" does not support {call}')
    for field, capability in (("tools", "tools"), ("suffix", "insert")):
        if body.get(field) and capability not in has:
            return fail(400, f"registry.ollama.ai/library/{model.name} does not support {capability}")
    return None


def refuse_options(body: Json) -> web.Response | None:
    wrong = find_wrong_option(body.get("options", {}))
    return None if wrong is None else fail(500, wrong)


def list_words(body: Json, *, chat: bool) -> list[str]:
    return (body["messages"][-1]["content"] if chat else body["prompt"]).split()


def write_whole(body: Json, words: list[str], *, chat: bool) -> Json:
    """What `stream: false` gives: the last line with all of the text in it."""
    written = words[: body.get("options", {}).get("num_predict", len(words))]
    reason = "length" if len(written) < len(words) else "stop"
    counts: Json = {
        "done": True,
        "prompt_eval_count": len(words),
        "eval_count": len(written),
        "eval_duration": 500_000_000,
    }
    return json.loads(write_line(body, chat, text=" ".join(written), done_reason=reason, **counts))


def write_line(body: Json, chat: bool, *, text: str = "", thinking: str = "", **rest: Json) -> bytes:
    thought = {"thinking": thinking} if thinking else {}
    said = {"message": {"role": "assistant", "content": text, **thought}} if chat else {"response": text, **thought}
    return json.dumps({"model": body["model"], **said, "done": False, **rest}).encode() + b"\n"
