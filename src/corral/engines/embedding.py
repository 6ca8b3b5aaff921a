"""Texts become vectors, some at a time, so that the progress is known and no answer is larger than memory likes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from corral.engines.outputs import append
from corral.narrowing import as_list, as_number, as_object
from corral.work import EngineError, Json, OutputFile, Produced, Reporter

PIECE_TEXTS = 64
"""Texts of one request; Ollama hands them to its runner at the same time."""
PIECE_CHARACTERS = 200_000
"""Characters of one request, unless its one text is longer: some 50,000 tokens, minutes on a processor."""
NAME = "embeddings.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """The answer to some texts: a vector each, in their order."""

    vectors: list[Json]
    tokens: int


Embed = Callable[[list[str], Callable[[str], None]], Awaitable[Vectors]]
"""Asks for the vectors of some texts; the second argument takes a few words for what is waited for."""


def read_vectors(answer: Mapping[str, Json]) -> Vectors:
    """Read an answer in the shape of OpenAI's API."""
    vectors = [as_object(entry).get("embedding") for entry in as_list(answer.get("data"))]
    return Vectors(vectors=vectors, tokens=int(as_number(as_object(answer.get("usage")).get("prompt_tokens")) or 0))


def split_texts(texts: Sequence[str], *, most: int = PIECE_TEXTS) -> Iterator[list[str]]:
    """Split texts into pieces of a bounded number and length, in order."""
    piece: list[str] = []
    characters = 0
    for text in texts:
        if piece and (len(piece) == most or characters + len(text) > PIECE_CHARACTERS):
            yield piece
            piece, characters = [], 0
        piece.append(text)
        characters += len(text)
    if piece:
        yield piece


async def embed_texts(
    texts: Sequence[str], embed: Embed, *, model: str | None, scratch: Path, report: Reporter, most: int = PIECE_TEXTS
) -> Produced:
    """Embed texts into one file, at most `most` in a request. Raises: EngineError."""
    path, done, dimensions, tokens = scratch / NAME, 0, 0, 0
    await append(path, f'{{"model": {json.dumps(model)}, "embeddings": ['.encode())
    for piece in split_texts(texts, most=most):
        answer = await embed(piece, partial(report.progress, done / len(texts)))
        if len(answer.vectors) != len(piece):
            raise EngineError(f"the server answered {len(piece)} texts with {len(answer.vectors)} embeddings")
        written = await asyncio.to_thread(json.dumps, answer.vectors)
        await append(path, f"{', ' if done else ''}{written[1:-1]}".encode())
        done, dimensions = done + len(piece), len(as_list(answer.vectors[0]))
        tokens += answer.tokens
        report.progress(done / len(texts), f"{done} of {len(texts)} texts")
    await append(path, b"]}")
    return Produced(
        files=(OutputFile(name=NAME, path=path, media_type="application/json"),),
        values={"embeddings": done, "dimensions": dimensions, "prompt_tokens": tokens},
    )
