"""`POST /v1/audio/transcriptions` and `translations`: text is sent whole, or while it is heard."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from corral.errors import CorralError
from corral.gateway.asgi import BodyTooLargeError, Exchange
from corral.gateway.catalogue import Offer
from corral.gateway.doors import Visitor, require_submitter
from corral.gateway.leaving import Leaving
from corral.gateway.openai.requests import require_dialect
from corral.gateway.openai.shape import OpenAiShape
from corral.gateway.passing import Prepared
from corral.gateway.speech.models import HEARERS, LOCAL_HEARERS, find_offer
from corral.gateway.speech.parts import SpeechParts, write_event
from corral.gateway.speech.recordings import LARGEST_PASSED, LARGEST_RECORDING, Fields, read_form, write_form
from corral.gateway.speech.requests import TranscriptionForm, check
from corral.gateway.speech.transcripts import Deltas, Task, describe_short, make_inputs, write_answer
from corral.gateway.speech.waiting import NewestText
from corral.gateway.speech.working import Order
from corral.slots.guests import Choice
from corral.work import Endpoint


class Hearing:
    """Writes down what visitors have recorded."""

    def __init__(self, parts: SpeechParts) -> None:
        self._parts = parts

    async def transcribe(self, exchange: Exchange, visitor: Visitor) -> None:
        """Answer one request. Raises: CorralError, ClientGoneError."""
        await self._hear(exchange, visitor, "transcribe")

    async def translate(self, exchange: Exchange, visitor: Visitor) -> None:
        """Answer one request, in English whatever was spoken. Raises: CorralError, ClientGoneError."""
        await self._hear(exchange, visitor, "translate")

    async def _hear(self, exchange: Exchange, visitor: Visitor, task: Task) -> None:
        require_submitter(visitor)
        parts = self._parts
        parts.passing.sink.check(visitor)
        async with AsyncExitStack() as counted, parts.workshop.lend_folder() as folder:
            offer: Offer | None = None

            async def find(fields: Fields) -> Offer:
                form = check(TranscriptionForm, fields)
                choice = await find_offer(parts.passing.catalogue, form.model, HEARERS, visitor)
                counted.enter_context(parts.count(visitor, form.model, choice))
                return choice

            async def admit(fields: Fields) -> int:
                nonlocal offer
                if "model" not in fields:
                    return LARGEST_PASSED
                offer = await find(fields)
                return LARGEST_RECORDING if offer.keep(LOCAL_HEARERS).models else LARGEST_PASSED

            fields, audio = await read_form(exchange, folder, admit, parts.workshop.reserve)
            offer = offer or await find(fields)
            await self._hear_with(exchange, visitor, offer, fields, task, audio)

    async def _hear_with(
        self, exchange: Exchange, visitor: Visitor, offer: Offer, fields: Fields, task: Task, audio: Path
    ) -> None:
        """Let an engine here hear it, or a server elsewhere."""
        form = check(TranscriptionForm, fields)
        here = offer.keep(LOCAL_HEARERS)
        if here.models:
            async with Leaving(exchange):
                await self._hear_here(exchange, visitor, here, form, task, audio)
            return
        content = await asyncio.to_thread(_read_bounded, audio)

        def prepare(endpoint: Endpoint, choice: Choice) -> Prepared:
            require_dialect(endpoint, choice)
            media_type, body = write_form({**fields, "model": endpoint.model or choice.model}, audio.name, content)
            return Prepared(path=exchange.path, body=body, content_type=media_type)

        await self._parts.pass_on(exchange, visitor, offer, "transcription", prepare, streams=form.stream)

    async def _hear_here(
        self,
        exchange: Exchange,
        visitor: Visitor,
        offer: Offer,
        form: TranscriptionForm,
        task: Task,
        audio: Path,
    ) -> None:
        order = Order(inputs=make_inputs(form, task), files={audio.name: audio})
        orders = dict.fromkeys(offer.choices, order)
        texts = NewestText()

        def show(media_type: str, data: bytes) -> None:
            if form.stream and media_type.startswith("text/plain"):
                texts.put(data.decode())

        deltas = Deltas()

        async def send(text: str) -> None:
            if new := deltas.find_new(text):
                await write_event(exchange, {"type": "transcript.text.delta", "delta": new})

        async def stream() -> None:
            while (text := await texts.get()) is not None:
                await send(text)

        streaming = asyncio.create_task(stream())
        try:
            done = await self._parts.work(
                visitor, offer, "transcription", orders, audio.parent, show, lambda: exchange.started
            )
            texts.end()
            await streaming
            if form.stream:
                answer = describe_short(done.produced)
                await send(answer["text"])
                await write_event(exchange, {"type": "transcript.text.done", **answer})
                await exchange.end()
            else:
                media_type, body = await asyncio.to_thread(write_answer, form, task, done.produced)
                await exchange.answer(200, body, media_type, {"x-corral-slot": done.slot})
        except CorralError as error:
            if not exchange.started:
                raise
            await exchange.end(OpenAiShape().write_late_error(error))
        finally:
            streaming.cancel()
            await asyncio.wait({streaming})


def _read_bounded(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_PASSED:
        what = f"the audio has more than {LARGEST_PASSED} bytes, which a server of another engine is not sent"
        raise BodyTooLargeError(what, where="file", hint="send parts of it")
    return path.read_bytes()
