"""The files of Chatterbox, and recordings of voices, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.engine_kinds import CHATTERBOX
from corral.engines.chatterbox.files import (
    RECORDINGS,
    WEIGHTS,
    check_recording,
    holds_weights,
    list_voices,
    require_weights,
)
from corral.engines.environments.finding import Environments
from corral.engines.environments.judging import Card, find_problem
from corral.work import TaskInvalidError
from doubles.local_engines import write_silence

(ENVIRONMENT,) = CHATTERBOX.environments


def test_missing_weights_are_named_with_where_they_come_from(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")

    with pytest.raises(TaskInvalidError) as raised:
        require_weights(tmp_path)
    assert raised.value.what.endswith("has no ve.safetensors, t3_cfg.safetensors, s3gen.safetensors")
    assert "ResembleAI/chatterbox" in (raised.value.hint or "")
    assert "corral models pull" in (raised.value.hint or "")
    assert not holds_weights(tmp_path)


def test_folder_with_all_weights_has_the_voice_that_comes_with_them(tmp_path: Path) -> None:
    for name in WEIGHTS:
        (tmp_path / name).touch()
    require_weights(tmp_path)
    assert (holds_weights(tmp_path), list_voices(tmp_path)) == (True, {})
    (tmp_path / "conds.pt").touch()
    assert list_voices(tmp_path) == {"built-in": "built-in"}


def test_endings_of_recordings_are_those_that_the_door_takes() -> None:
    assert CHATTERBOX.speech is not None
    assert CHATTERBOX.speech.voice_files == RECORDINGS


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.wav", b"RIFF", "not a WAV of PCM samples"),
        ("a.wav", b"<html>", r"not a \.wav file"),
        ("a.m4a", b"\0\0\0\x20mp41", r"not a \.m4a file"),
        ("a.txt", b"hello", "not a recording"),
    ],
)
def test_file_that_is_no_recording_is_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / "sample").write_bytes(content)
    with pytest.raises(TaskInvalidError, match=reason):
        check_recording(tmp_path / "sample", name)


def test_recording_must_be_long_enough_to_know_a_voice_by(tmp_path: Path) -> None:
    check_recording(write_silence(tmp_path / "a.wav", seconds=3), "a.wav")
    with pytest.raises(TaskInvalidError, match=r"has 2\.0 s"):
        check_recording(write_silence(tmp_path / "b.wav", seconds=2), "b.wav")


@pytest.mark.parametrize(
    ("name", "capability", "served"),
    [
        ("NVIDIA GeForce GTX 960", (5, 2), True),
        ("NVIDIA GeForce RTX 4090", (8, 9), True),
        ("NVIDIA H200", (9, 0), True),
        ("NVIDIA B200", (10, 0), False),
        ("NVIDIA GeForce RTX 5090", (12, 0), False),
        ("GPU 0", None, True),
    ],
)
def test_doctor_names_the_cards_that_its_pytorch_has_no_code_for(
    name: str, capability: tuple[int, int] | None, served: bool
) -> None:
    problem = find_problem(CHATTERBOX, ENVIRONMENT, [Card(name=name, capability=capability)], Environments())

    assert (problem is None) == served
    if problem is not None:
        assert f"PyTorch 2.6 does not run on {name}" in problem.what
        assert "compute capability 5.0 to 9.0" in problem.what
