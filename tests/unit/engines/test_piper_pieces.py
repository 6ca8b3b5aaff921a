"""A long text is spoken in pieces that end with a sentence, and nothing of it is lost."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.engines.piper.pieces import PIECE_CHARACTERS, join_speech, split_text

SENTENCE = "The ships in the harbor are waiting for the tide. "


@given(st.text(st.sampled_from("Ab c.!?\n\u3002\u00e9"), max_size=4 * PIECE_CHARACTERS))
def test_pieces_are_the_whole_text(text: str) -> None:
    pieces = split_text(text)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert len(pieces) == 1 or all(any(character.isalnum() for character in piece) for piece in pieces)


def test_short_text_is_one_piece() -> None:
    assert split_text("One line.\nAnother line.") == ["One line. Another line."]


def test_long_text_is_cut_after_sentences() -> None:
    pieces = split_text(SENTENCE * 50)
    assert len(pieces) > 2
    assert all(piece.endswith("tide.") for piece in map(str.strip, pieces))
    assert all(PIECE_CHARACTERS <= len(piece) + 1 < PIECE_CHARACTERS + len(SENTENCE) for piece in pieces[:-1])


@pytest.mark.parametrize("word", ["Dr. Ada", "e.g. Then", "3.5 Volts", "www.corral.Example", "ver. 2"])
def test_text_is_not_cut_where_no_sentence_ends(word: str) -> None:
    assert split_text((word + " and ") * PIECE_CHARACTERS) == [" ".join(((word + " and ") * PIECE_CHARACTERS).split())]


def test_languages_without_spaces_are_cut_at_their_full_stops() -> None:
    pieces = split_text("\u4eca\u65e5\u306f\u3044\u3044\u5929\u6c17\u3067\u3059\u3002" * 200)
    assert len(pieces) > 2
    assert all(piece.endswith("\u3002") for piece in pieces)


def write_tone(path: Path, frames: int) -> Path:
    with wave.open(str(path), "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(1000)
        audio.writeframes(b"\x01\x02" * frames)
    return path


def test_speech_is_joined_with_the_silence_that_is_between_sentences(tmp_path: Path) -> None:
    parts = [write_tone(tmp_path / "a.wav", 3), write_tone(tmp_path / "b.wav", 2)]
    join_speech(parts, tmp_path / "all.wav", silence_s=0.004)
    with wave.open(str(tmp_path / "all.wav"), "rb") as audio:
        assert audio.readframes(100) == b"\x01\x02" * 3 + bytes(2 * 4) + b"\x01\x02" * 2
    assert [path.name for path in tmp_path.iterdir()] == ["all.wav"]
