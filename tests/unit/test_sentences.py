"""A long text is cut after sentences, whole or while it is written, and nothing of it is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.sentences import SentenceCutter, split_text

LONG = 600
SENTENCE = "The ships in the harbor are waiting for the tide. "


@given(st.text(st.sampled_from("Ab c.!?\n\u3002\u00e9"), max_size=4 * LONG))
def test_pieces_are_the_whole_text(text: str) -> None:
    pieces = split_text(text, first=LONG, others=LONG)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert len(pieces) == 1 or all(any(character.isalnum() for character in piece) for piece in pieces)


def test_short_text_is_one_piece() -> None:
    assert split_text("One line.\nAnother line.", first=LONG, others=LONG) == ["One line. Another line."]


def test_long_text_is_cut_after_sentences() -> None:
    pieces = split_text(SENTENCE * 50, first=LONG, others=LONG)
    assert len(pieces) > 2
    assert all(piece.endswith("tide.") for piece in map(str.strip, pieces))
    assert all(LONG <= len(piece) + 1 < LONG + len(SENTENCE) for piece in pieces[:-1])


@pytest.mark.parametrize("word", ["Dr. Ada", "e.g. Then", "3.5 Volts", "www.corral.Example", "ver. 2"])
def test_text_is_not_cut_where_no_sentence_ends(word: str) -> None:
    text = " ".join([f"{word} and"] * LONG)
    assert split_text(text, first=LONG, others=LONG) == [text]


def test_languages_without_spaces_are_cut_at_their_full_stops() -> None:
    pieces = split_text("\u4eca\u65e5\u306f\u3044\u3044\u5929\u6c17\u3067\u3059\u3002" * 200, first=LONG, others=LONG)
    assert len(pieces) > 2
    assert all(piece.endswith("\u3002") for piece in pieces)


def test_first_piece_is_a_sentence_where_it_is_to_be_heard_soon() -> None:
    first, second, *_ = split_text(SENTENCE * 50, first=1, others=LONG)
    assert first == SENTENCE.strip()
    assert len(second) > LONG - len(SENTENCE)


@given(
    st.lists(st.sampled_from(["The ships wait. ", "Tom", "orrow they sail", "! ", "Dr. ", "Go", "\u3002"]), max_size=40)
)
def test_text_that_is_still_written_is_cut_where_the_whole_text_is(parts: list[str]) -> None:
    cutter = SentenceCutter(first=1, others=20)
    pieces = [piece for part in parts for piece in cutter.add(part)] + cutter.end()
    assert "".join("".join(pieces).split()) == "".join("".join(parts).split())


def test_sentence_is_given_out_once_the_next_one_begins() -> None:
    cutter = SentenceCutter(first=1, others=1)
    assert cutter.add("The ships wait") == []
    assert cutter.add(". ") == []
    assert cutter.add("To") == ["The ships wait."]
    assert cutter.end() == ["To"]
