"""The failures of a server that is reached by URL, and what its messages are to people."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from corral.errors import Kind, Problem
from corral.work import EngineError, EngineUnavailableError, FailureScope, TaskInvalidError

LONGEST_QUOTE = 500
"""Characters of a server's message that are quoted."""


class ServerUnreachableError(EngineUnavailableError):
    """The server did not answer, or fell silent."""

    code = "instance.unreachable"


class ServerAnswerError(EngineUnavailableError):
    """Something answered, but not the way that a server of the engine does."""

    code = "instance.bad_answer"


class AdapterClosedError(EngineUnavailableError):
    """The engine was closed; Corral is stopping, or the cluster file no longer has it."""

    code = "instance.closed"


class ModelMissingError(EngineError):
    """The server does not have the model; another one might, or it can be installed there."""

    code = "instance.model_missing"
    kind: ClassVar[Kind] = Kind.MISSING
    scope: ClassVar[FailureScope] = FailureScope.WAIT


class RequestRefusedError(TaskInvalidError):
    """The task's request cannot be fulfilled; carries every problem where there are several."""

    code = "instance.refused"

    def __init__(
        self, what: str, *, where: str | None = None, hint: str | None = None, problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self._problems = tuple(problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self._problems or super().problems


class ServerBusyError(EngineError):
    """The server's own queue is full, or it is not ready yet."""

    code = "instance.busy"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY
    scope: ClassVar[FailureScope] = FailureScope.WAIT


class ServerOutOfMemoryError(EngineError):
    """The model does not fit into what memory the server has left."""

    code = "instance.out_of_memory"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


class GenerationFailedError(EngineError):
    """The server failed while it worked on the request."""

    code = "instance.failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that is not the one that was asked for."""

    status: int
    message: str
    """The server's own words, or what `describe_page` makes of a page."""
    path: str
    model: str
    """The model of the request; empty where it names none."""
    where: str


_OUT_OF_MEMORY = re.compile(r"out of memory|more system memory|cudamalloc failed", re.IGNORECASE)


def translate_failure(message: str, *, where: str) -> EngineError:
    """Translate an error that a server met while it worked, in whatever form it reported it."""
    text = shorten(message)
    if _OUT_OF_MEMORY.search(text):
        hint = "use a smaller model or context, or free memory on that server"
        return ServerOutOfMemoryError(text, where=where, hint=hint)
    return GenerationFailedError(text, where=where)


def translate_gate(refusal: Refusal) -> EngineError | None:
    """Translate what a proxy or a guard before the server answers; None where it is the server's own word."""
    text = shorten(refusal.message) or "no message"
    match refusal.status:
        case 401 | 403:
            what = f"the server refuses Corral with {refusal.status}: {text}"
            hint = "set `tokenFrom` or `headersFrom` of this instance in the cluster file"
            return ServerAnswerError(what, where=refusal.where, hint=hint)
        case 502 | 503 | 504 if refusal.status != 503 or is_page(refusal.message):
            hint = "look at the proxy in front of the server, and at the server behind it"
            what = f"the server is not reached: {refusal.status}, {text}"
            return ServerUnreachableError(what, where=refusal.where, hint=hint)
        case _:
            return None


def shorten(text: str) -> str:
    """Bound a foreign message to what a person reads, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_QUOTE else line[: LONGEST_QUOTE - 1] + "…"


_PAGE = re.compile(r"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def is_page(text: str) -> bool:
    """Whether a message is a page for browsers, as proxies answer, or what `describe_page` made of one."""
    return bool(_PAGE.match(text)) or text.startswith(_A_PAGE)


_A_PAGE = "a web page"


def describe_page(text: str) -> str:
    """Describe a page for browsers by its title, the one line in it for people; other text stays as it is."""
    if not _PAGE.match(text):
        return text
    title = _TITLE.search(text)
    named = shorten(html.unescape(title[1])) if title else ""
    return f"{_A_PAGE} with the title {named!r}" if named else _A_PAGE
