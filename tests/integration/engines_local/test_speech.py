"""Piper and Whisper on real models: what one says, the other understands."""

from __future__ import annotations

import asyncio
import json
import wave
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from corral.engines.transcript import LONGEST_CUE_S
from corral.work import Engine, EngineError, TaskInvalidError
from doubles.local_engines import PIPER, WHISPER, Remembering, a_work, running_below, write_silence
from doubles.words import word_error_rate

LINE = "The ships in the harbor are waiting for the tide.\nTomorrow morning they will sail to the open sea."


async def speak(piper: Engine, tmp_path: Path, text: str = LINE) -> Path:
    produced = await piper.run(a_work("piper", tmp_path, model=PIPER, text=text), Remembering())
    return produced.files[0].path


async def test_spoken_line_is_understood(engine: Callable[..., Engine], tmp_path: Path, report: Remembering) -> None:
    speech = await speak(engine("piper"), tmp_path)
    work = a_work("whisper", tmp_path, model=WHISPER, files={"line-1.wav": speech}, word_timestamps=True)

    produced = await engine("whisper").run(work, report)

    files = {file.name: file.path.read_text() for file in produced.files}
    assert word_error_rate(LINE, produced.values["text"]) < 0.2
    assert set(files) == {"text.txt", "segments.json", "subtitles.srt", "subtitles.vtt"}
    assert files["text.txt"].strip() == produced.values["text"]
    assert files["subtitles.srt"].startswith("1\n00:00:00,")
    segments = json.loads(files["segments.json"])
    assert segments[-1]["end"] <= produced.values["duration_s"] + 1
    assert segments[0]["words"][0]["end"] > 0
    assert produced.values["language"] == "en"
    assert 0 < max(fraction or 0 for fraction, _ in report.notes) <= 1


async def test_stretches_that_are_decoded_together_are_understood_and_have_subtitles(
    engine: Callable[..., Engine], tmp_path: Path, report: Remembering
) -> None:
    speech = await speak(engine("piper"), tmp_path)
    work = a_work("whisper", tmp_path, model=WHISPER, files={"line-1.wav": speech})

    produced = await engine("whisper", batchSize=4).run(work, report)

    files = {file.name: file.path.read_text() for file in produced.files}
    assert word_error_rate(LINE, produced.values["text"]) < 0.2
    segments = json.loads(files["segments.json"])
    assert len(segments) >= 2
    assert all(0 < segment["end"] - segment["start"] <= LONGEST_CUE_S for segment in segments)
    assert "words" not in segments[0]


async def test_silence_has_no_text_whether_or_not_stretches_are_decoded_together(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    audio = write_silence(tmp_path / "silence.wav", seconds=2)
    work = a_work("whisper", tmp_path, model=WHISPER, files={"silence.wav": audio}, language="en")

    produced = await engine("whisper", batchSize=4).run(work, Remembering())

    assert (produced.values["text"], produced.values["duration_s"]) == ("", 2.0)


async def test_speech_is_a_wav_of_the_length_it_says(engine: Callable[..., Engine], tmp_path: Path) -> None:
    produced = await engine("piper").run(a_work("piper", tmp_path, model=PIPER, text="Hello."), Remembering())

    with wave.open(str(produced.files[0].path)) as audio:
        assert audio.getframerate() == produced.values["sample_rate"] == 22_050
        assert audio.getnframes() / 22_050 == pytest.approx(produced.values["duration_s"], abs=0.001)


async def test_voice_stays_loaded_until_its_scales_change(
    engine: Callable[..., Engine], tmp_path: Path, logs: Path
) -> None:
    piper = engine("piper")

    async def program_after(**scales: float) -> int:
        await piper.run(a_work("piper", tmp_path, model=PIPER, text="Hello.", **scales), Remembering())
        (program,) = [process.pid for process in running_below(logs) if "--output-dir" in process.cmdline()]
        return program

    first, again, slower = await program_after(), await program_after(), await program_after(length_scale=2.0)

    assert first == again
    assert slower != first


async def test_piper_that_dies_fails_one_attempt(engine: Callable[..., Engine], tmp_path: Path, logs: Path) -> None:
    piper = engine("piper")
    await speak(piper, tmp_path, "Hello.")
    report = Remembering()
    running = asyncio.create_task(piper.run(a_work("piper", tmp_path, model=PIPER, text="Word. " * 10_000), report))
    await report.under_way.wait()

    (program,) = [process for process in running_below(logs) if "--output-dir" in process.cmdline()]
    program.kill()
    psutil.wait_procs([program], timeout=10)

    with pytest.raises(EngineError, match="piper ended"):
        await running
    assert (await speak(piper, tmp_path, "Hello.")).exists()


async def test_long_text_reports_how_much_of_it_is_spoken(
    engine: Callable[..., Engine], tmp_path: Path, report: Remembering
) -> None:
    text = f"{LINE} " * 20

    produced = await engine("piper").run(a_work("piper", tmp_path, model=PIPER, text=text), report)

    fractions = [fraction for fraction, _ in report.notes if fraction is not None]
    assert len(fractions) >= 2
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < 1
    assert any(note.endswith("characters") for _, note in report.notes)
    assert len(report.shown) >= 3
    assert {(media_type, data[:4]) for media_type, data in report.shown} == {("audio/wav", b"RIFF")}
    assert produced.values["duration_s"] > 60
    assert [path.name for path in produced.files[0].path.parent.iterdir()] == ["speech.wav"]


async def test_speaker_that_the_voice_does_not_have_is_refused(engine: Callable[..., Engine], tmp_path: Path) -> None:
    with pytest.raises(TaskInvalidError, match=r"speaker 7 is asked for, and '.*' has 1, numbered from 0"):
        await engine("piper").run(a_work("piper", tmp_path, model=PIPER, text=LINE, speaker=7), Remembering())


@pytest.mark.parametrize(
    ("asked", "reason"),
    [({"language": "de"}, "is for English alone, and the language is 'de'"), ({"task": "translate"}, "not translate")],
)
async def test_model_for_english_refuses_other_languages(
    engine: Callable[..., Engine], tmp_path: Path, asked: dict[str, str], reason: str
) -> None:
    audio = write_silence(tmp_path / "silence.wav", seconds=1)
    work = a_work("whisper", tmp_path, model=WHISPER, files={"silence.wav": audio}, **asked)

    with pytest.raises(TaskInvalidError, match=reason):
        await engine("whisper").run(work, Remembering())


async def test_file_without_audio_is_the_tasks_fault(engine: Callable[..., Engine], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html></html>")
    work = a_work("whisper", tmp_path, model=WHISPER, files={"page.html": page})

    with pytest.raises(TaskInvalidError, match=r"'page\.html' holds no audio") as raised:
        await engine("whisper").run(work, Remembering())

    assert str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize("count", [0, 2])
async def test_whisper_takes_one_file(engine: Callable[..., Engine], tmp_path: Path, count: int) -> None:
    files = {f"{number}.wav": tmp_path / "x" for number in range(count)}

    with pytest.raises(TaskInvalidError, match="exactly one"):
        await engine("whisper").run(a_work("whisper", tmp_path, model=WHISPER, files=files), Remembering())


async def test_silence_has_no_words(engine: Callable[..., Engine], tmp_path: Path) -> None:
    silence = write_silence(tmp_path / "silence.wav", seconds=2)
    work = a_work("whisper", tmp_path, model=WHISPER, files={"silence.wav": silence}, vad=True)

    produced = await engine("whisper").run(work, Remembering())

    assert (produced.values["text"], produced.values["duration_s"]) == ("", 2.0)


async def test_other_models_of_the_store_are_refused(engine: Callable[..., Engine], tmp_path: Path) -> None:
    silence = write_silence(tmp_path / "silence.wav", seconds=1)
    work = a_work("whisper", tmp_path, model=PIPER, files={"silence.wav": silence})

    with pytest.raises(TaskInvalidError, match=r"holds no 'model\.bin'"):
        await engine("whisper").run(work, Remembering())
