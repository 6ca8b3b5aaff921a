"""One attempt's talk with llama.cpp's server: write an answer, or embed texts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from corral.engines.llama.client import LlamaClient
from corral.engines.llama.inputs import LlamaInputs
from corral.engines.llama.reply import Reply
from corral.engines.llama.requests import list_images, make_chat_request, make_data_url, make_embedding_request
from corral.engines.narrowing import as_list, as_object
from corral.work import EngineError, Json, OutputFile, Produced, Reporter, TaskInvalidError, Work

_EMBED_TOGETHER = 32
"""Texts of one request: a cancel is obeyed, and progress shown, between two."""


async def compute(client: LlamaClient, inputs: LlamaInputs, work: Work, report: Reporter) -> Produced:
    """Write or embed, as the inputs ask. Raises: EngineError, ConnectionLostError."""
    if inputs.embed is not None:
        return await _embed(client, inputs.embed, work, report)
    await _check_abilities(client, inputs, work)
    pictures = await asyncio.to_thread(_read_pictures, inputs, work)
    reply = Reply(report, max_tokens=inputs.max_tokens, clock=asyncio.get_running_loop().time)
    async with client.stream("/v1/chat/completions", make_chat_request(inputs, pictures)) as events:
        async for event in events:
            reply.take(event)
    texts = {"text.txt": reply.text, "thinking.txt": reply.thinking}
    files = [
        await _write(work.scratch / name, text, media_type="text/plain; charset=utf-8")
        for name, text in texts.items()
        if text or name == "text.txt"
    ]
    return Produced(files=tuple(files), values=reply.list_values())


async def _check_abilities(client: LlamaClient, inputs: LlamaInputs, work: Work) -> None:
    """Refuse what llama.cpp would leave out without a word; builds that do not report an ability are believed.

    Raises: TaskInvalidError.
    """
    images = list_images(inputs)
    if not (inputs.tools or images):
        return
    facts = await client.look("/props")
    if inputs.tools and as_object(facts.get("chat_template_caps")).get("supports_tools") is False:
        what = f"the chat template of {work.model!r} has no place for tools"
        raise TaskInvalidError(what, where="inputs.tools", hint="use a model that was made to call tools")
    if images and as_object(facts.get("modalities")).get("vision") is False:
        what = f"{work.model!r} with {inputs.mmproj!r} does not see images"
        raise TaskInvalidError(what, where="inputs.images", hint="use a model for images, with the projector of it")


async def _embed(client: LlamaClient, texts: list[str], work: Work, report: Reporter) -> Produced:
    vectors: list[Json] = []
    tokens = 0
    for start in range(0, len(texts), _EMBED_TOGETHER):
        report.progress(start / len(texts), f"{start} of {len(texts)} texts")
        answer = await client.ask("/v1/embeddings", make_embedding_request(texts[start : start + _EMBED_TOGETHER]))
        vectors += [as_object(entry).get("embedding") for entry in as_list(answer.get("data"))]
        tokens += int(as_object(answer.get("usage")).get("prompt_tokens") or 0)
    if len(vectors) != len(texts):
        raise EngineError(f"llama.cpp answered with {len(vectors)} vectors for {len(texts)} texts")
    content = await asyncio.to_thread(json.dumps, {"model": work.model, "embeddings": vectors})
    file = await _write(work.scratch / "embeddings.json", content, media_type="application/json")
    values: dict[str, Json] = {
        "embeddings": len(vectors),
        "dimensions": len(as_list(vectors[0])),
        "prompt_tokens": tokens,
    }
    return Produced(files=(file,), values=values)


async def _write(path: Path, content: str, *, media_type: str) -> OutputFile:
    await asyncio.to_thread(path.write_text, content, encoding="utf-8")
    return OutputFile(name=path.name, path=path, media_type=media_type)


def _read_pictures(inputs: LlamaInputs, work: Work) -> dict[str, str]:
    return {name: make_data_url(Path(name), work.files[name].read_bytes()) for name in list_images(inputs)}
