"""`/v1/audio/voices`: voices are listed, created from a file with the speaker's consent, and deleted."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from corral.gateway.asgi import Exchange
from corral.gateway.doors import Visitor, require_submitter
from corral.gateway.forms import FormError, read_parts
from corral.gateway.speech.models import LOCAL_SPEAKERS
from corral.gateway.speech.parts import SpeechParts
from corral.gateway.speech.requests import check
from corral.gateway.speech.voices import OwnVoice
from corral.work import Json

LARGEST_SAMPLE = 10 * 2**20
"""Bytes, as OpenAI's own limit."""
_NAME = re.compile(r"[^\w.-]+")


class VoiceForm(BaseModel):
    """The fields of a form that creates a voice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    consent: str = Field(min_length=1, max_length=2_000)
    type: str = Field("audio_sample", pattern="^audio_sample$")


class VoiceKeeping:
    """Keeps voices for visitors."""

    def __init__(self, parts: SpeechParts) -> None:
        self._parts = parts

    async def list(self, exchange: Exchange, visitor: Visitor) -> None:
        """List the voices of every model, or of one, and the visitor's own."""
        catalogue = self._parts.passing.catalogue
        await catalogue.ready()
        wanted = exchange.query.get("model")
        names: dict[str, None] = {}
        for offer in catalogue.list_offers():
            if wanted in (None, offer.name):
                for choice in offer.keep(LOCAL_SPEAKERS).choices:
                    names.update(dict.fromkeys(await self._parts.voices.list_built_in(choice)))
        own = await self._parts.voices.list_own(visitor) if visitor.owner else ()
        listed: list[Json] = [{"id": name, "object": "audio.voice", "name": name} for name in names]
        listed += [_describe(voice) for voice in own]
        await exchange.answer_json(200, {"object": "list", "data": listed, "voices": listed})

    async def create(self, exchange: Exchange, visitor: Visitor) -> None:
        """Create a voice. Raises: CorralError."""
        require_submitter(visitor)
        async with self._parts.workshop.lend_folder() as folder:
            fields, file, file_name = await _read_form(exchange, folder)
            form = check(VoiceForm, fields)
            voice = await self._parts.voices.create(
                visitor, name=form.name, consent=form.consent, file=file, file_name=file_name
            )
        await exchange.answer_json(200, _describe(voice))

    async def delete(self, exchange: Exchange, visitor: Visitor) -> None:
        """Delete a voice. Raises: CorralError."""
        require_submitter(visitor)
        voice_id = exchange.path.rpartition("/")[2]
        await self._parts.voices.delete(visitor, voice_id)
        await exchange.answer_json(200, {"id": voice_id, "object": "audio.voice", "deleted": True})


def _describe(voice: OwnVoice) -> dict[str, Json]:
    return {
        "id": voice.id,
        "object": "audio.voice",
        "name": voice.name,
        "created_at": int(voice.created_at.timestamp()),
        "type": "audio_sample",
    }


async def _read_form(exchange: Exchange, folder: Path) -> tuple[dict[str, Json], Path, str]:
    """Read a form; its file goes to the folder. Raises: FormError."""
    fields: dict[str, Json] = {}
    file, file_name = folder / "sample", ""
    async for part in read_parts(exchange.headers.get("content-type", ""), exchange.read_chunks()):
        if part.filename is None:
            fields[part.name] = await part.read_text()
            continue
        if part.name != "audio_sample":
            raise FormError(f"a voice has no file {part.name!r}", where=part.name, hint="send it as `audio_sample`")
        file_name = _NAME.sub("_", part.filename)[-100:]
        size = 0
        with file.open("wb") as target:
            async for piece in part.content:
                size += len(piece)
                if size > LARGEST_SAMPLE:
                    what = f"a voice's file can have {LARGEST_SAMPLE} bytes, and this one has more"
                    raise FormError(what, where="audio_sample")
                await asyncio.to_thread(target.write, piece)
    if not file_name:
        raise FormError("the form has no file", where="audio_sample", hint="send the voice's file as `audio_sample`")
    return fields, file, file_name
