"""Cloned lines are checked: real weights hear them and compare their voices, real voices of Kokoro speak them."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from corral.engines.building import Device, build
from corral.engines.chatterbox.hearing import decode_recording
from corral.engines.environments.finding import Environments
from corral.engines.speech_checks.speaker import SpeakerEncoder, measure_similarity, prepare
from corral.work import LINE_CHECK, Engine, EngineError, TaskInvalidError
from doubles.chatterbox_library import read_calls, write_library, write_weights
from doubles.local_engines import RESEMBLYZER, WHISPER, Remembering, a_work, real_models, running_below
from doubles.sounds import a_hum
from doubles.spoken_lines import ANN, BEN, MORNING, SHIPS, say

GOLDEN = Path(__file__).parents[2] / "golden" / "speech" / "resemblyzer.json"


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder(real_models(RESEMBLYZER).path(RESEMBLYZER))


@pytest.fixture
async def chatterbox(logs: Path, tmp_path: Path) -> AsyncIterator[Engine]:
    write_library(tmp_path)
    engine = build(
        "chatterbox",
        device=Device(name="cpu0"),
        threads=1,
        options={"hears": WHISPER, "compares": RESEMBLYZER, "tries": 2},
        locate=lambda name: tmp_path / name if name == "weights" else real_models(RESEMBLYZER).path(name),
        log_dir=logs,
        environments=Environments(tmp_path / "engines"),
    )
    yield engine
    await engine.close()
    assert running_below(logs) == []


@pytest.mark.parametrize("seconds", ["0.9", "3.37"])
def test_speaker_is_where_the_package_finds_it(encoder: SpeakerEncoder, seconds: str) -> None:
    """The file was written by Resemblyzer 0.1.4 on PyTorch 2.6 from the same samples."""
    expected = json.loads(GOLDEN.read_text())[seconds]["embedding"]

    assert encoder.embed(a_hum(float(seconds))) == pytest.approx(expected, abs=1e-4)


def test_lines_of_one_voice_are_alike_and_lines_of_two_are_not(encoder: SpeakerEncoder) -> None:
    lines = ((SHIPS, ANN), (MORNING, ANN), (SHIPS, BEN))
    ann, same, other = (encoder.embed(prepare(decode_recording(io.BytesIO(say(*line)), "line"))) for line in lines)

    assert measure_similarity(ann, same) > 0.8
    assert measure_similarity(ann, other) < 0.6


async def test_line_in_another_voice_is_spoken_again_until_it_is_the_recordings(
    chatterbox: Engine, tmp_path: Path, report: Remembering
) -> None:
    (tmp_path / "ann.wav").write_bytes(say(SHIPS, ANN))
    weights = write_weights(tmp_path / "weights", say(MORNING, BEN), say(MORNING, ANN))
    work = a_work("chatterbox", tmp_path, model="weights", files={"ann.wav": tmp_path / "ann.wav"}, text=MORNING)

    produced = await chatterbox.run(work, report)

    speech, checked = produced.files
    with wave.open(io.BytesIO(say(MORNING, ANN))) as wanted, wave.open(str(speech.path)) as spoken:
        assert spoken.getnframes() == wanted.getnframes()
    (check,) = json.loads(checked.path.read_text())
    assert [media_type for media_type, _ in report.shown] == [LINE_CHECK, "audio/wav"]
    assert json.loads(report.shown[0][1]) == check
    assert (check["text"], check["wrong_words"]) == (MORNING, 0.0)
    assert check["similarity"] == produced.values["similarity"] > 0.8
    loaded, listened, *spoken_texts = read_calls(weights)
    assert loaded == {"loaded_on": "cpu"}
    assert listened == {"recording_s": pytest.approx(3.27, abs=0.1), "rate": 24_000}
    assert spoken_texts == [{"text": MORNING}, {"text": MORNING}]


async def test_line_with_other_words_is_not_handed_out_and_is_kept_with_the_failure(
    chatterbox: Engine, tmp_path: Path, report: Remembering
) -> None:
    (tmp_path / "ann.wav").write_bytes(say(SHIPS, ANN))
    write_weights(tmp_path / "weights", say(SHIPS, ANN))
    work = a_work("chatterbox", tmp_path, model="weights", files={"ann.wav": tmp_path / "ann.wav"}, text=MORNING)

    with pytest.raises(
        EngineError, match=r"line 1 of 1 failed its check 2 times: \d+% of its words are wrong"
    ) as raised:
        await chatterbox.run(work, report)

    assert [file.name for file in raised.value.files] == ["speech.wav", "checks.json"]
    assert report.shown == []
    nameless = a_work("chatterbox", tmp_path, model="weights", text=MORNING)
    with pytest.raises(TaskInvalidError, match="has no voice of its own"):  # not that of the task before
        await chatterbox.run(nameless, report)
