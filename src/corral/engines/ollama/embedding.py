"""Texts become vectors, some at a time, so that the progress is known and no answer is larger than memory likes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from corral.engines.narrowing import as_list, as_number
from corral.engines.ollama.client import OllamaClient
from corral.engines.ollama.errors import OutputUnwritableError, ServerAnswerError
from corral.engines.ollama.protocol import PATHS
from corral.work import Json, OutputFile, Produced, Reporter

PIECE_TEXTS = 64
"""Texts of one request; Ollama hands them to its runner at the same time."""
PIECE_CHARACTERS = 200_000
"""Characters of one request, unless its one text is longer: some 50,000 tokens, minutes on a processor."""
NAME = "embeddings.json"


def split_texts(texts: Sequence[str]) -> Iterator[list[str]]:
    """Split texts into pieces of a bounded number and length, in order."""
    piece: list[str] = []
    characters = 0
    for text in texts:
        if piece and (len(piece) == PIECE_TEXTS or characters + len(text) > PIECE_CHARACTERS):
            yield piece
            piece, characters = [], 0
        piece.append(text)
        characters += len(text)
    if piece:
        yield piece


async def embed(client: OllamaClient, body: dict[str, Json], scratch: Path, report: Reporter) -> Produced:
    """Embed the texts of a request into one file. Raises: EngineError."""
    asked = body["input"]
    texts = [asked] if isinstance(asked, str) else cast("list[str]", asked)  # checked: text, or a list of texts
    path, done, dimensions, tokens = scratch / NAME, 0, 0, 0
    await _append(path, f'{{"model": {json.dumps(body["model"])}, "embeddings": [')
    for piece in split_texts(texts):
        note = partial(report.progress, done / len(texts))
        reply = await client.ask(PATHS["embed"], {**body, "input": piece}, note=note)
        vectors = as_list(reply.get("embeddings"))
        if len(vectors) != len(piece):
            what = f"the server answered {len(piece)} texts with {len(vectors)} embeddings"
            raise ServerAnswerError(what, where=client.url)
        written = await asyncio.to_thread(json.dumps, vectors)
        await _append(path, (", " if done else "") + written[1:-1])
        done, dimensions = done + len(piece), len(as_list(vectors[0]))
        tokens += int(as_number(reply.get("prompt_eval_count")) or 0)
        report.progress(done / len(texts), f"{done} of {len(texts)} texts")
    await _append(path, "]}")
    return Produced(
        files=(OutputFile(name=NAME, path=path, media_type="application/json"),),
        values={"embeddings": done, "dimensions": dimensions, "prompt_tokens": tokens},
    )


async def _append(path: Path, text: str) -> None:
    def write() -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)

    try:
        await asyncio.to_thread(write)
    except OSError as error:
        raise OutputUnwritableError(f"cannot write {path.name!r}: {error.strerror}", where=str(path.parent)) from error
