"""Servers of speech with a protocol of their own: requests in OpenAI's form become theirs (`speech_dialects.toml`).

Each is known by a path in its `/openapi.json`. It has no list of models, so its own name stands for its model.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, cast

from corral.engines.http.errors import RequestRefusedError
from corral.narrowing import as_text
from corral.work import Json, SpeechRequest

_TABLE = "speech_dialects.toml"
_OPENAI = frozenset({"model", "input", "voice", "response_format", "speed", "seed", "language", "stream_format"})
"""Fields of OpenAI's form that are translated or left out; all others go along as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechDialect:
    """One protocol; the table says what its fields are."""

    name: str
    title: str
    path: str
    text: str
    voice: str
    languages: Sequence[str]
    needs: Sequence[str]
    formats: Mapping[str, str]
    source: str
    version: str
    speed: str | None = None
    seed: str | None = None
    format: str | None = None

    def translate(self, request: Mapping[str, Json], *, voice: str | None, language: str | None) -> SpeechRequest:
        """Translate a request in OpenAI's form; `voice` and `language` are used where it names none.

        Raises: RequestRefusedError.
        """
        written = as_text(request.get("response_format")) or next(iter(self.formats))
        if written not in self.formats:
            hint = f"ask for {' or '.join(self.formats)}"
            raise RequestRefusedError(f"{self.title} does not write {written!r}", where="response_format", hint=hint)
        spoken = request.get("language") or language
        known = {
            self.text: request.get("input"),
            self.voice: request.get("voice") or voice,
            **({} if self.format is None else {self.format: self.formats[written]}),
            **self._translate_number("speed", self.speed, request),
            **self._translate_number("seed", self.seed, request),
            **dict.fromkeys(self.languages, spoken),
        }
        given = {name: value for name, value in request.items() if name not in _OPENAI or name in self.languages}
        body = {name: value for name, value in {**known, **given}.items() if value is not None}
        if missing := [name for name in self.needs if not body.get(name)]:
            what = f"{self.title} needs {', '.join(map(repr, missing))}, which the request does not have"
            hint = "name a voice and a language in the request, or as options of the engine in the cluster file"
            raise RequestRefusedError(what, hint=hint)
        return SpeechRequest(path=self.path, body=body, format=written)

    def _translate_number(self, name: str, own: str | None, request: Mapping[str, Json]) -> dict[str, Json]:
        value = request.get(name)
        if value is None or (name == "speed" and value == 1):
            return {}
        if own is None:
            raise RequestRefusedError(f"{self.title} has no {name}", where=name, hint="leave it out")
        return {own: value}


@cache
def list_dialects() -> Mapping[str, SpeechDialect]:
    """Return every dialect by name."""
    text = files("corral.engines.openai").joinpath(_TABLE).read_text(encoding="utf-8")
    tables = cast("dict[str, dict[str, Any]]", tomllib.loads(text))  # Any: TOML, whose names the dataclass checks
    return {name: SpeechDialect(name=name, **facts) for name, facts in tables.items()}


def find_dialect(paths: Iterable[str]) -> SpeechDialect | None:
    """Find the dialect of a server by the paths that it has; None where it speaks OpenAI's, or an unknown one."""
    known = set(paths)
    return next((dialect for dialect in list_dialects().values() if dialect.path in known), None)
