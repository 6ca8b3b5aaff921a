"""One attempt's talk with llama.cpp's server: write an answer, or embed texts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from corral.engines.chat.messages import list_images, make_data_url
from corral.engines.chat.reply import Reply
from corral.engines.embedding import Vectors, embed_texts, read_vectors
from corral.engines.llama.client import LlamaClient, make_refusal
from corral.engines.llama.inputs import LlamaInputs
from corral.engines.llama.requests import make_chat_request, make_embedding_request
from corral.engines.outputs import write_answer
from corral.narrowing import as_object
from corral.work import Produced, Reporter, TaskInvalidError, Work

_EMBED_TOGETHER = 32
"""Texts of one request: a cancel is obeyed, and progress shown, between two."""


async def compute(client: LlamaClient, inputs: LlamaInputs, work: Work, report: Reporter) -> Produced:
    """Write or embed, as the inputs ask. Raises: EngineError, ConnectionLostError."""
    if inputs.embed is not None:
        return await _embed(client, inputs.embed, work, report)
    await _check_abilities(client, inputs, work)
    pictures = await asyncio.to_thread(_read_pictures, inputs, work)
    reply = Reply(
        report,
        program="llama.cpp",
        max_tokens=inputs.max_tokens,
        refuse=lambda chunk: make_refusal(as_object(chunk["error"])),
        clock=asyncio.get_running_loop().time,
    )
    async with client.stream("/v1/chat/completions", make_chat_request(inputs, pictures)) as events:
        async for event in events:
            reply.take(event)
    files = await write_answer(work.scratch, {"text.txt": reply.text, "thinking.txt": reply.thinking})
    return Produced(files=files, values=reply.list_values())


async def _check_abilities(client: LlamaClient, inputs: LlamaInputs, work: Work) -> None:
    """Refuse what llama.cpp would leave out without a word; builds that do not report an ability are believed.

    Raises: TaskInvalidError.
    """
    images = list_task_images(inputs)
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
    async def embed(piece: list[str], note: Callable[[str], None]) -> Vectors:
        del note  # the server is Corral's own: nothing is waited for
        return read_vectors(await client.ask("/v1/embeddings", make_embedding_request(piece)))

    return await embed_texts(texts, embed, model=work.model, scratch=work.scratch, report=report, most=_EMBED_TOGETHER)


def _read_pictures(inputs: LlamaInputs, work: Work) -> dict[str, str]:
    return {name: make_data_url(Path(name), work.files[name].read_bytes()) for name in list_task_images(inputs)}


def list_task_images(inputs: LlamaInputs) -> list[str]:
    return list_images(inputs.images, inputs.messages or ())
