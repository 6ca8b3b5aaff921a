"""Voices that people create at the door of speech: OpenAI's client, a real API and its stores, and Kokoro."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import openai
import pytest

from corral.cluster.keeping import Retention
from corral.engines.building import Device, build
from corral.server.services import Services
from corral.tasks.artifacts import SWEEP_GRACE_S
from corral.tasks.retention import collect
from corral.tasks.store.tokens import create_token
from corral.work import SlotId
from doubles.guest_desk import OpenDesk
from doubles.local_engines import KOKORO, real_models
from doubles.serving import serving
from doubles.slots_shown import a_place_view

CONSENT = "I am Captain Hay, and I agree that my voice is used on this machine."


@pytest.fixture
async def url(services: Services, tmp_path: Path) -> AsyncIterator[str]:
    store = await asyncio.to_thread(real_models)
    engine = build(
        "kokoro", device=Device(name="cpu0"), threads=1, options={}, locate=store.path, log_dir=tmp_path / "logs"
    )
    desk = OpenDesk({SlotId("node/cpu0/kokoro"): engine})
    services.board.show_slots(lambda: (a_place_view("kokoro", device="node/cpu0"),))
    async with serving(replace(services, weights=store, guests=desk)) as api:
        yield f"{api.url}/v1"
    await engine.close()


def a_pack(*names: str) -> bytes:
    """A voice between those of the model."""
    with np.load(real_models().path(KOKORO) / "voices_ja.npz") as pack:
        mixed = np.mean([pack[name] for name in names], axis=0)
    buffer = io.BytesIO()
    np.save(buffer, mixed)
    return buffer.getvalue()


async def a_client(services: Services, url: str, name: str, role: str = "submitter") -> openai.AsyncOpenAI:
    _, secret = await create_token(services.pool, name=name, role=role)
    return openai.AsyncOpenAI(base_url=url, api_key=secret, max_retries=0)


async def test_voice_is_created_speaks_is_listed_and_deleted(services: Services, url: str) -> None:
    ann, bob = await a_client(services, url, "ann"), await a_client(services, url, "bob")
    pack = a_pack("jf_alpha", "jm_kumo")

    voice = await ann.audio.voices.create(name="captain", audio_sample=("captain.npy", pack), consent=CONSENT)
    said = {
        name: (
            await ann.audio.speech.create(model=KOKORO, voice=name, input="Good evening.", response_format="pcm")
        ).content
        for name in ("jf_alpha", "captain", voice.id)
    }

    assert (voice.object, voice.name, voice.type) == ("audio.voice", "captain", "audio_sample")
    assert said["captain"] == said[voice.id] != said["jf_alpha"]
    assert voice.id in {entry["id"] for entry in (await ann.get("/audio/voices", cast_to=dict))["voices"]}
    assert voice.id not in {entry["id"] for entry in (await bob.get("/audio/voices", cast_to=dict))["voices"]}
    with pytest.raises(openai.BadRequestError, match="there is no voice 'captain'"):
        await bob.audio.speech.create(model=KOKORO, voice="captain", input="Good evening.")
    with pytest.raises(openai.NotFoundError):
        await bob.audio.voices.delete(voice.id)

    deleted = await ann.audio.voices.delete(voice.id)

    assert (deleted.id, deleted.deleted) == (voice.id, True)
    with pytest.raises(openai.BadRequestError, match="there is no voice 'captain'"):
        await ann.audio.speech.create(model=KOKORO, voice="captain", input="Good evening.")
    acts = await services.pool.fetch("select action, owner, details from audit order by id")
    assert [(act["action"], act["owner"]) for act in acts][-2:] == [("voice_created", "ann"), ("voice_deleted", "ann")]
    assert acts[-1]["details"]["consent"] == CONSENT


async def test_administrator_deletes_the_voice_of_anyone(services: Services, url: str) -> None:
    ann, admin = await a_client(services, url, "ann"), await a_client(services, url, "root", "admin")
    voice = await ann.audio.voices.create(name="c", audio_sample=("c.npy", a_pack("jm_kumo")), consent=CONSENT)

    assert (await admin.audio.voices.delete(voice.id)).deleted


async def test_file_of_a_voice_is_kept_as_long_as_the_voice(services: Services, url: str) -> None:
    ann = await a_client(services, url, "ann")
    voice = await ann.audio.voices.create(name="c", audio_sample=("c.npy", a_pack("jm_kumo")), consent=CONSENT)
    (row,) = await services.pool.fetch("select sha256 from voices")
    path = services.artifacts.locate(row["sha256"].hex())
    old = time.time() - 2 * SWEEP_GRACE_S
    os.utime(path, (old, old))
    at_once = Retention(tasks=timedelta(0), artifacts=timedelta(0))

    assert (await collect(services.pool, services.artifacts, at_once)).files == 0
    await ann.audio.voices.delete(voice.id)
    assert (await collect(services.pool, services.artifacts, at_once)).files == 1
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("captain.npy", b"\x93NUMPY and more", "is not a voice of Kokoro"),
        ("captain.wav", b"RIFF", "none that clones a voice from a recording is installed"),
        ("captain.txt", b"I am", "no engine speaks with .captain.txt."),
    ],
)
async def test_file_that_no_engine_speaks_with_is_refused(
    services: Services, url: str, name: str, content: bytes, reason: str
) -> None:
    ann = await a_client(services, url, "ann")
    with pytest.raises(openai.BadRequestError, match=reason):
        await ann.audio.voices.create(name="captain", audio_sample=(name, content), consent=CONSENT)
    assert await services.pool.fetchval("select count(*) from voices") == 0


async def test_voice_without_consent_and_a_second_one_of_a_name_are_refused(services: Services, url: str) -> None:
    ann = await a_client(services, url, "ann")
    pack = ("captain.npy", a_pack("jm_kumo"))
    with pytest.raises(openai.BadRequestError, match="consent"):
        await ann.audio.voices.create(name="captain", audio_sample=pack, consent="")
    await ann.audio.voices.create(name="captain", audio_sample=pack, consent=CONSENT)
    with pytest.raises(openai.ConflictError, match="has a voice 'captain'"):
        await ann.audio.voices.create(name="captain", audio_sample=pack, consent=CONSENT)
