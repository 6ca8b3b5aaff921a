"""What Kokoro says of a text, with sounds as espeak-ng 1.51 wrote them; integration tests ask the real program."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.engines.kokoro.phonemes import choose_language, find_phonemes, group_clauses
from corral.work import TaskInvalidError

HEARD = {
    "The ships wait": "ðə ʃˈɪps wˈe^ɪt",
    "and go": "and ɡˈo^ʊ",
    "Dr. Smith paid 3.5": "dˈɑːktɚ smˈɪθ pˈe^ɪd θɹˈiː",
    "go there": "ɡˌə^ʊ ðˈe^ə",
    "bottle": "bˈɑːɾə^l",
    "button": "bˈʌʔn̩",
    "Le weekend": "lə- (^e^n)wiːkˈɛnd(^f^r)",
}


def speak(language: str, clause: str) -> str:
    return HEARD[clause.strip()]


@pytest.mark.parametrize(
    ("text", "language", "sounds"),
    [
        ("The ships wait, and go!", "en-us", ["ðə ʃˈɪps wˈAt,", "and ɡˈO!"]),
        ("go there?!", "en-gb", ["ɡˌQ ðˈɛː?!"]),
        ("Dr. Smith paid 3.5.", "en-us", ["dˈɑktəɹ smˈɪθ pˈAd θɹˈi."]),
        ("bottle; button", "en-us", ["bˈɑɾᵊl;", "bˈʌtᵊn"]),
        ("Le weekend", "fr-fr", ["lə wiːkˈɛnd"]),
        ("... bottle ...", "en-us", ["bˈɑɾᵊl..."]),
    ],
)
def test_clause_is_followed_by_its_punctuation_in_the_sounds_of_kokoro(
    text: str, language: str, sounds: list[str]
) -> None:
    assert find_phonemes(text, language, speak) == sounds


@pytest.mark.parametrize(
    ("asked", "voice", "language"),
    [(None, "af_heart", "en-us"), (None, "bm_lewis", "en-gb"), ("it", "af_heart", "it"), (None, "jf_alpha", "en-us")],
)
def test_language_is_the_one_of_the_voice_unless_another_is_named(asked: str | None, voice: str, language: str) -> None:
    assert choose_language(asked, voice, "Hello.") == language


@pytest.mark.parametrize("text", ["今夜", "Say こんにちは", "안녕"])
def test_script_that_cannot_be_read_is_refused_instead_of_spelled(text: str) -> None:
    with pytest.raises(TaskInvalidError, match="cannot read Chinese, Japanese or Korean"):
        choose_language(None, "jf_alpha", text)


@given(st.lists(st.text("ab ", min_size=1).map(str.strip).filter(bool), max_size=20), st.integers(2, 12))
def test_groups_of_clauses_are_short_enough_and_lose_no_sound(clauses: list[str], most: int) -> None:
    groups = group_clauses(clauses, most)

    assert all(len(group) <= most for group in groups)
    assert "".join(groups).replace(" ", "") == "".join(clauses).replace(" ", "")
