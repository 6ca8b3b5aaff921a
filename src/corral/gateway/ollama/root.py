"""The page at `/` by which clients find out whether an Ollama answers at an address."""

from __future__ import annotations

from typing import Any

from corral.gateway.asgi import Exchange, Scope

ROOT = "/"
_WORDS = b"Ollama is running"


def wants_words(scope: Scope) -> bool:
    """Whether a request is such a question, and not a person who wants to see a page."""
    if scope["type"] != "http" or scope["path"] != ROOT or scope["method"] not in ("GET", "HEAD"):
        return False
    return not any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


async def answer_root(scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
    """Answer in Ollama's words."""
    await Exchange(scope, receive, send).answer(200, _WORDS, "text/plain; charset=utf-8")
