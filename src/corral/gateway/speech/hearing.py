"""`POST /v1/audio/transcriptions` and `translations`: text is sent whole, or while it is heard."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from corral.errors import CorralError
from corral.gateway.asgi import Exchange
from corral.gateway.catalogue import Offer
from corral.gateway.doors import Visitor, require_submitter
from corral.gateway.forms import FormError, read_parts
from corral.gateway.leaving import Leaving
from corral.gateway.openai.requests import require_dialect
from corral.gateway.openai.shape import OpenAiShape
from corral.gateway.passing import Prepared
from corral.gateway.speech.models import HEARERS, LOCAL_HEARERS, find_offer
from corral.gateway.speech.parts import SpeechParts, wait_for_queue, write_event
from corral.gateway.speech.requests import TranscriptionForm, check
from corral.gateway.speech.transcripts import Deltas, Task, describe_short, make_inputs, write_answer
from corral.gateway.speech.working import Order
from corral.slots.guests import Choice
from corral.work import Endpoint, Json

_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}$")
LARGEST_RECORDING = 2 * 2**30
"""Bytes of a recording: three hours as WAV of 48 kHz in stereo. It is on the disk while it is heard."""
_LARGEST_PASSED = 64 * 2**20
"""Bytes of audio that is passed on to a server, which is held in memory for as long."""


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
        async with self._parts.workshop.lend_folder() as folder:
            fields, audio = await read_form(exchange, folder)
            form = check(TranscriptionForm, fields)
            offer = await find_offer(self._parts.passing.catalogue, form.model, HEARERS, visitor)
            here = offer.keep(LOCAL_HEARERS)
            if here.models:
                async with Leaving(exchange):
                    await self._hear_here(exchange, visitor, here, form, task, audio, folder)
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
        folder: Path,
    ) -> None:
        order = Order(inputs=make_inputs(form, task), files={audio.name: audio})
        orders = dict.fromkeys(offer.choices, order)
        texts: asyncio.Queue[str] = asyncio.Queue()

        def show(media_type: str, data: bytes) -> None:
            if form.stream and media_type.startswith("text/plain"):
                texts.put_nowait(data.decode())

        deltas = Deltas()

        async def send(text: str) -> None:
            if new := deltas.find_new(text):
                await write_event(exchange, {"type": "transcript.text.delta", "delta": new})

        async def stream() -> None:
            while True:
                await send(await texts.get())
                texts.task_done()

        streaming = asyncio.create_task(stream())
        try:
            done = await self._parts.work(
                visitor, offer, "transcription", orders, folder, show, lambda: exchange.started
            )
            await wait_for_queue(texts, streaming)
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


async def read_form(exchange: Exchange, folder: Path, largest: int = LARGEST_RECORDING) -> tuple[dict[str, Json], Path]:
    """Read a form; its file, of at most `largest` bytes, goes to the folder. Raises: FormError."""
    size = 0
    fields: dict[str, Json] = {}
    granularities: list[str] = []
    audio: Path | None = None
    async for part in read_parts(exchange.headers.get("content-type", ""), exchange.read_chunks()):
        if part.filename is not None:
            ending = _ENDING.search(part.filename)
            audio = folder / f"audio{ending[0] if ending else ''}"
            with audio.open("wb") as target:
                async for piece in part.content:
                    size += len(piece)
                    if size > largest:
                        raise FormError(f"the audio has more than {largest} bytes", where="file", hint="send parts")
                    await asyncio.to_thread(target.write, piece)
        elif part.name in ("timestamp_granularities[]", "timestamp_granularities"):
            granularities.append(await part.read_text())
        else:
            fields[part.name] = await part.read_text()
    if audio is None:
        raise FormError("the form has no file", where="file", hint="send the audio as the form's `file`")
    return {**fields, "granularities": granularities}, audio


def _read_bounded(path: Path) -> bytes:
    if path.stat().st_size > _LARGEST_PASSED:
        raise FormError(
            f"the audio has more than {_LARGEST_PASSED} bytes, which a server of another engine is not sent"
        )
    return path.read_bytes()


def write_form(fields: Mapping[str, Json], name: str, content: bytes) -> tuple[str, bytes]:
    """Return the content type and the body of a form with one file."""
    boundary = uuid4().hex
    pairs: list[tuple[str, str]] = []
    for field_name, value in fields.items():
        if field_name == "granularities":
            pairs += [("timestamp_granularities[]", granularity) for granularity in value]
        else:
            pairs.append((field_name, str(value)))
    lines = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{field_name}"\r\n\r\n{value}\r\n'.encode()
        for field_name, value in pairs
    ]
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return f"multipart/form-data; boundary={boundary}", b"".join(
        (*lines, head, content, f"\r\n--{boundary}--\r\n".encode())
    )
