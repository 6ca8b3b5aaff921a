"""What is compared of a cloned line: its words, and the sound that a speaker is known by."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from corral.engines.speech_checks.speaker import compute_mels, list_windows, prepare
from corral.engines.speech_checks.verdict import Limits, LineCheck, list_faults, rank, summarize
from corral.engines.speech_checks.words import measure_wrong_words
from corral.engines.tensors import read_tensors
from corral.work import TaskInvalidError
from doubles.sounds import a_hum

GOLDEN = Path(__file__).parents[2] / "golden" / "speech" / "resemblyzer.json"
LIMITS = Limits(most_wrong_words=0.25, least_similarity=0.75)


def a_check(wrong_words: float = 0.0, similarity: float | None = 0.9) -> LineCheck:
    return LineCheck(text="Good evening.", heard="Good evening.", wrong_words=wrong_words, similarity=similarity)


@pytest.mark.parametrize(
    ("asked", "heard", "wrong"),
    [
        ("The ships wait.", "the ships wait", 0),
        ("It\u2019s late \u2014 don't go!", "It's late, don't go.", 0),
        ("Nine hundred and sixty ships.", "960 ships", 0),
        ("Take two of them.", "Take 2 of them", 0),
        ("The ships wait here.", "The sheep wait.", 0.5),
        ("The ships wait.", "", 1),
        ("Good evening.", "Good evening. Good evening. Good evening.", 2),
        ("M\u00fcller waits.", "Muller waits", 0.5),
    ],
)
def test_wrong_words_are_counted_whatever_their_spelling(asked: str, heard: str, wrong: float) -> None:
    assert measure_wrong_words(asked, heard) == pytest.approx(wrong)


@pytest.mark.parametrize(
    ("check", "faults"),
    [
        (a_check(0.25, 0.75), []),
        (a_check(0.0, None), []),
        (a_check(0.26, 0.9), ["words are wrong"]),
        (a_check(0.0, 0.74), ["like the sample's to 0.74"]),
        (a_check(0.5, 0.5), ["words are wrong", "like the sample's"]),
    ],
)
def test_line_keeps_to_both_limits_and_is_not_judged_by_what_is_unknown(check: LineCheck, faults: list[str]) -> None:
    listed = list_faults(check, LIMITS)

    assert len(listed) == len(faults)
    assert all(part in fault for part, fault in zip(faults, listed, strict=True))


def test_best_of_bad_lines_has_the_fewest_faults_and_then_the_smallest() -> None:
    worst, wrong_voice, nearly = a_check(0.5, 0.5), a_check(0.0, 0.5), a_check(0.1, 0.7)
    assert sorted([worst, wrong_voice, nearly], key=lambda check: rank(check, LIMITS)) == [nearly, wrong_voice, worst]


def test_summary_is_the_worst_of_each() -> None:
    assert summarize([a_check(0.1, 0.8), a_check(0.2, 0.9), a_check(0.0, None)]) == {
        "wrong_words": 0.2,
        "similarity": 0.8,
    }
    assert summarize([a_check(0.0, None)])["similarity"] is None


@pytest.mark.parametrize("seconds", ["0.9", "3.37"])
def test_spectrogram_is_that_of_the_package(seconds: str) -> None:
    """The file was written by Resemblyzer 0.1.4 with librosa 0.11.0 from the same samples."""
    means = json.loads(GOLDEN.read_text())[seconds]["mel_means"]

    assert compute_mels(a_hum(float(seconds))).mean(axis=0) == pytest.approx(means, rel=1e-4)


def test_windows_cover_all_of_a_sound_but_a_short_rest() -> None:
    assert list_windows(16_000) == [0]
    assert list_windows(round(1.9 * 16_000)) == [0]
    assert list_windows(round(2.4 * 16_000)) == [0, 77]


def test_pauses_are_cut_and_silence_has_no_speech() -> None:
    hum = a_hum(2.0)
    paused = np.concatenate([hum, np.zeros(32_000, np.float32), hum])

    assert 3.9 < len(prepare(paused)) / 16_000 < 4.7
    assert len(prepare(np.zeros(16_000, np.float32))) == 0


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


def test_pickle_that_would_run_a_program_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts = (0x1950A86A20F9469CFC6C, 1001, {}, {"model_state": Attack()}, [])
    (tmp_path / "bad.pt").write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))

    with pytest.raises(TaskInvalidError, match=r"asks for posix\.system"):
        read_tensors(tmp_path / "bad.pt", "model_state")
    assert not (tmp_path / "ran").exists()


def test_pickle_in_a_zip_that_would_run_a_program_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "bad.tar", "w") as archive:
        archive.writestr("weights/data.pkl", pickle.dumps({"model_state": Attack()}, 2))

    with pytest.raises(TaskInvalidError, match=r"asks for posix\.system"):
        read_tensors(tmp_path / "bad.tar", "model_state")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps(1), b"\x80\x02\x8a"])
def test_file_of_another_form_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)

    with pytest.raises(TaskInvalidError, match=r"'model.pt' is not a file of tensors") as raised:
        read_tensors(tmp_path / "model.pt", "model_state")
    assert "corral models pull" in (raised.value.hint or "")
