"""Kokoro on its real weights, with the real espeak-ng: what is said is understood by Whisper."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from corral.engine_kinds import KOKORO as KIND
from corral.engines.environments.finding import Environments
from corral.work import Engine, EngineUnavailableError, TaskInvalidError
from doubles.local_engines import KOKORO, WHISPER, Remembering, a_work, real_models
from doubles.words import word_error_rate

LINE = "The ships in the harbor are waiting for the tide. Tomorrow morning they will sail to the open sea."


def read_sound(content: bytes) -> np.ndarray:
    with wave.open(io.BytesIO(content)) as audio:
        assert (audio.getnchannels(), audio.getsampwidth(), audio.getframerate()) == (1, 2, 24_000)
        return np.frombuffer(audio.readframes(audio.getnframes()), np.int16)


async def test_spoken_line_is_understood_and_was_sent_sentence_by_sentence(
    engine: Callable[..., Engine], tmp_path: Path, report: Remembering
) -> None:
    produced = await engine("kokoro").run(a_work("kokoro", tmp_path, model=KOKORO, text=LINE), report)

    (speech,) = produced.files
    sentences = [read_sound(data) for media_type, data in report.shown if media_type == "audio/wav"]
    whole = read_sound(speech.path.read_bytes())
    assert len(sentences) == 2
    assert (np.concatenate(sentences) == whole).all()
    assert produced.values["duration_s"] == pytest.approx(len(whole) / 24_000, abs=0.001)
    assert (produced.values["voice"], produced.values["language"]) == ("jf_alpha", "en-us")
    heard = await engine("whisper").run(
        a_work("whisper", tmp_path, model=WHISPER, files={"speech.wav": speech.path}), Remembering()
    )
    assert word_error_rate(LINE, heard.values["text"]) < 0.2


async def test_speed_and_voice_change_the_sound_and_a_voice_can_be_a_file(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    kokoro = engine("kokoro")
    with np.load(real_models().path(KOKORO) / "voices_ja.npz") as pack:
        np.save(tmp_path / "captain.npy", (pack["jf_alpha"] + pack["jm_kumo"]) / 2)

    async def say(files: dict[str, Path] | None = None, **inputs: object) -> tuple[str, float, bytes]:
        work = a_work("kokoro", tmp_path, model=KOKORO, files=files, text="Good evening.", **inputs)
        produced = await kokoro.run(work, Remembering())
        values = produced.values
        return values["voice"], values["duration_s"], produced.files[0].path.read_bytes()

    voice, usual_s, usual = await say()
    _, fast_s, _ = await say(speed=2.0)
    other, _, low = await say(voice="jm_kumo")
    own, _, captain = await say({"captain.npy": tmp_path / "captain.npy"})

    assert fast_s < 0.75 * usual_s
    assert [voice, other, own] == ["jf_alpha", "jm_kumo", "captain"]
    assert len({usual, low, captain}) == 3


async def test_voice_that_the_model_does_not_have_is_refused(engine: Callable[..., Engine], tmp_path: Path) -> None:
    work = a_work("kokoro", tmp_path, model=KOKORO, text=LINE, voice="af_heart")
    with pytest.raises(TaskInvalidError, match="has no voice 'af_heart'"):
        await engine("kokoro").run(work, Remembering())


async def test_cancel_stops_between_two_sentences(engine: Callable[..., Engine], tmp_path: Path) -> None:
    kokoro = engine("kokoro")
    report = Remembering()
    running = asyncio.create_task(kokoro.run(a_work("kokoro", tmp_path, model=KOKORO, text=f"{LINE} " * 50), report))
    await report.under_way.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(report.shown) < 100


def test_missing_espeak_is_named_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailableError, match="needs the program 'espeak-ng'") as raised:
        Environments().require(KIND)
    assert "espeak-ng" in (raised.value.hint or "")
