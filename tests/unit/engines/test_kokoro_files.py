"""Voices and vocabularies of Kokoro, in each form that people have them in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from corral.engines.kokoro.files import choose_voice, find_model_file, read_pack, read_vocabulary, read_voices
from corral.work import TaskInvalidError

STYLES = np.arange(3 * 256, dtype=np.float32).reshape(3, 1, 256)


def test_voices_are_read_from_packs_arrays_and_bare_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "voices.npz", af_one=STYLES, af_two=STYLES)
    np.save(tmp_path / "mine.npy", STYLES[:, 0])
    STYLES.tofile(tmp_path / "bm_bare.bin")

    voices = read_voices(tmp_path)

    assert set(voices) == {"af_one", "af_two", "mine", "bm_bare"}
    assert all((style == STYLES[:, 0]).all() for style in voices.values())


def test_pack_is_known_by_its_content_whatever_its_name_ends_with(tmp_path: Path) -> None:
    np.savez(tmp_path / "voices.npz", af_one=STYLES)
    (tmp_path / "voices.npz").rename(tmp_path / "voices-v1.0.bin")

    assert list(read_voices(tmp_path)) == ["af_one"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.zeros((2, 100), np.float32), "not styles of 256 numbers"),
        (np.zeros((2, 256), np.int64), "not styles of 256 numbers"),
        (np.full((2, 256), np.nan, np.float32), "not finite"),
        (np.array([{"a": 1}], dtype=object), "is not a voice"),
    ],
    ids=["another shape", "whole numbers", "not numbers", "pickled code"],
)
def test_file_that_is_not_a_voice_is_refused_by_its_name(tmp_path: Path, content: np.ndarray, reason: str) -> None:
    path = tmp_path / "0001.npy"
    np.save(path, content, allow_pickle=True)

    with pytest.raises(TaskInvalidError, match=reason) as raised:
        read_pack(path, "mine.npy")

    assert "mine.npy" in str(raised.value)


def test_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.npy").write_text("<html></html>")
    with pytest.raises(TaskInvalidError, match=r"'page\.npy' is not a voice"):
        read_pack(tmp_path / "page.npy")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.json", {"vocab": {"a": 43}}),
        ("config.json", {"istftnet": {}, "vocab": {"a": 43}}),
        ("tokenizer.json", {"model": {"vocab": {"a": 43}}}),
    ],
)
def test_vocabulary_is_found_in_each_published_form(tmp_path: Path, name: str, content: dict[str, object]) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    assert read_vocabulary(tmp_path) == {"a": 43}


def test_folder_without_a_vocabulary_says_what_to_put_there(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TaskInvalidError, match="has no vocabulary"):
        read_vocabulary(tmp_path)


def test_folder_with_two_networks_is_refused(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).touch()
    with pytest.raises(TaskInvalidError, match=r"2 '\.onnx' files"):
        find_model_file(tmp_path)


def test_unknown_voice_is_refused_with_near_ones() -> None:
    voices = {"af_heart": STYLES[:, 0], "bm_lewis": STYLES[:, 0]}
    with pytest.raises(TaskInvalidError) as raised:
        choose_voice(voices, "af_haert", "kokoro")
    assert "af_heart" in (raised.value.hint or "")
    assert choose_voice(voices, None, "kokoro")[0] == "af_heart"
