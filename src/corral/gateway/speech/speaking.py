"""`POST /v1/audio/speech`: sound is sent while it is made."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from typing import ClassVar

from pydantic_core import to_json

from corral.errors import CorralError, Kind
from corral.gateway.asgi import Exchange
from corral.gateway.catalogue import Offer
from corral.gateway.doors import Visitor, require_submitter
from corral.gateway.leaving import Leaving
from corral.gateway.openai.requests import RequestBodyError, require_dialect
from corral.gateway.openai.shape import OpenAiShape
from corral.gateway.parsing import parse
from corral.gateway.passing import Prepared
from corral.gateway.speech.encoding import MEDIA_TYPES, Encoder, find_media_type
from corral.gateway.speech.models import LOCAL_SPEAKERS, SPEAKERS, find_offer
from corral.gateway.speech.parts import SpeechParts, wait_for_queue, write_event
from corral.gateway.speech.requests import SpeechBody, check
from corral.gateway.speech.sound import read_wav
from corral.gateway.speech.voices import prepare_speech
from corral.gateway.speech.waiting import WaitingSound
from corral.gateway.speech.working import Order
from corral.narrowing import as_number, as_object
from corral.slots.guests import Choice
from corral.work import LINE_CHECK, Endpoint, Json

CHECK_HEADER = b"corral-line-check"
"""The findings on the first line of cloned speech: the others are spoken after the headers are sent."""
_LARGEST_BODY = 2**20
"""Bytes of a request to speak."""


class SpeechBrokenError(CorralError):
    """An engine sent what is not speech."""

    code: ClassVar[str] = "speech.broken"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class Speaking:
    """Speaks for visitors."""

    def __init__(self, parts: SpeechParts) -> None:
        self._parts = parts

    async def speak(self, exchange: Exchange, visitor: Visitor) -> None:
        """Answer one request. Raises: CorralError, ClientGoneError."""
        require_submitter(visitor)
        fields = _read_object(await exchange.read_body(_LARGEST_BODY))
        body = check(SpeechBody, fields)
        offer = await find_offer(self._parts.passing.catalogue, body.model, SPEAKERS, visitor)
        with self._parts.count(visitor, body.model, offer):
            await self._speak_with(exchange, visitor, offer, body, fields)

    async def _speak_with(
        self, exchange: Exchange, visitor: Visitor, offer: Offer, body: SpeechBody, fields: Mapping[str, Json]
    ) -> None:
        """Let an engine here speak, or a server elsewhere."""
        here = offer.keep(LOCAL_SPEAKERS)
        if here.models:
            await self._speak_here(exchange, visitor, here, body)
            return

        def prepare(endpoint: Endpoint, choice: Choice) -> Prepared:
            asked = {**fields, "model": endpoint.model or choice.model}
            if endpoint.translate_speech is None:
                require_dialect(endpoint, choice)
                return Prepared(path=exchange.path, body=to_json(asked))
            request = endpoint.translate_speech(asked)
            media_type = find_media_type(request.format).encode()
            return Prepared(path=request.path, body=to_json(request.body), media_type=media_type)

        await self._parts.pass_on(exchange, visitor, offer, "speech", prepare)

    async def _speak_here(self, exchange: Exchange, visitor: Visitor, offer: Offer, body: SpeechBody) -> None:
        parts = self._parts
        orders: dict[Choice, Order] = {}
        for choice in offer.choices:
            spoken = await prepare_speech(body, choice, visitor, parts.voices)
            orders[choice] = Order(inputs=spoken.inputs, files=spoken.files)
        answer = _Speech(exchange, body)
        encoder = Encoder(body.response_format, parts.python, answer.write)
        await encoder.require()
        async with Leaving(exchange), parts.workshop.lend_folder() as folder:
            pieces = WaitingSound(folder)

            def show(media_type: str, data: bytes) -> None:
                if media_type == "audio/wav":
                    pieces.put(data)
                elif media_type == LINE_CHECK:
                    answer.note_check(as_object(parse(data)))

            async def encode() -> None:
                while True:
                    rate, samples = _read_piece(await pieces.get())
                    await encoder.feed(rate, samples)
                    pieces.queue.task_done()

            encoding = asyncio.create_task(encode())
            try:
                await self._parts.work(visitor, offer, "speech", orders, folder, show, lambda: exchange.started)
                await wait_for_queue(pieces.queue, encoding)
                await encoder.finish()
                await answer.finish()
            except CorralError as error:
                await answer.fail(error)
            finally:
                encoding.cancel()
                await asyncio.wait({encoding})
                await encoder.close()


class _Speech:
    """The answer of speech: sound as it is, or in events."""

    def __init__(self, exchange: Exchange, body: SpeechBody) -> None:
        self._exchange = exchange
        self._body = body
        self._checks: list[Mapping[str, Json]] = []

    def note_check(self, check: Mapping[str, Json]) -> None:
        """Note what was found of the next line; an engine that checks none has none."""
        self._checks.append(check)

    async def write(self, piece: bytes) -> None:
        """Send encoded sound."""
        if self._body.stream_format == "sse":
            await write_event(self._exchange, {"type": "speech.audio.delta", "audio": b64encode(piece).decode()})
            return
        await self._begin()
        await self._exchange.write(piece)

    async def finish(self) -> None:
        """Send what ends it."""
        if self._body.stream_format == "sse":
            checks = {"checks": self._checks} if self._checks else {}
            await write_event(self._exchange, {"type": "speech.audio.done", "usage": None, **checks})
        else:
            await self._begin()
        await self._exchange.end()

    async def fail(self, error: CorralError) -> None:
        """End it with an error where its form has one. Raises: the error where it has none."""
        if not self._exchange.started or self._body.stream_format != "sse":
            raise error
        await self._exchange.end(OpenAiShape().write_late_error(error))

    async def _begin(self) -> None:
        if not self._exchange.started:
            media_type = MEDIA_TYPES[self._body.response_format]
            headers = [(CHECK_HEADER, write_check(check).encode()) for check in self._checks[:1]]
            await self._exchange.start(200, [(b"content-type", media_type.encode()), *headers])


def write_check(check: Mapping[str, Json]) -> str:
    """Write what was found of a line as a header has it."""
    similarity = as_number(check.get("similarity"))
    alike = "unknown" if similarity is None else f"{similarity:.3f}"
    return f"wrong_words={as_number(check.get('wrong_words')) or 0.0:.3f}, similarity={alike}"


def _read_piece(piece: bytes) -> tuple[int, bytes]:
    try:
        return read_wav(piece)
    except ValueError as error:
        raise SpeechBrokenError(str(error)) from error


def _read_object(body: bytes) -> dict[str, Json]:
    try:
        fields = parse(body)
    except ValueError as error:
        raise RequestBodyError(f"the body is not JSON: {error}", hint="send an object in JSON") from error
    if not isinstance(fields, dict):
        raise RequestBodyError("the body is not an object", hint="send an object with `model`, `input` and `voice`")
    return as_object(fields)
