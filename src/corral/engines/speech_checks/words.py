"""How many words of a line were not heard; pure.

Numbers are written in many ways ("four", "4", "nine hundred and sixty", "960"), so a run of them is one word,
whichever they are: that a number is spoken is checked, and not which one.
"""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_UNITS = "zero one two three four five six seven eight nine ten eleven twelve"
_TEENS = "thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million"
_NUMBER_WORDS = frozenset(f"{_UNITS} {_TEENS} {_TENS}".split())
_NUMBER = "#"
_NUMBERS = re.compile("#(?: and #| #)+")


def measure_wrong_words(asked: str, heard: str) -> float:
    """Return the share of wrong words: edits from one to the other, for each word that was asked for.

    0 where all are right; above 1 where more is heard than was asked for.
    """
    expected, seen = list_words(asked), list_words(heard)
    if not expected:
        return float(len(seen) > 0)
    row = list(range(len(seen) + 1))
    for count, word in enumerate(expected, 1):
        previous, row[0] = row[0], count
        for at, other in enumerate(seen, 1):
            previous, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, previous + (word != other))
    return row[-1] / len(expected)


def list_words(text: str) -> list[str]:
    """Return the words of a text, without case and punctuation; a run of numbers is one."""
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold()
    words = [_NUMBER if _is_number(word) else word for word in _WORD.findall(plain)]
    return _NUMBERS.sub(_NUMBER, " ".join(words)).split()


def _is_number(word: str) -> bool:
    return word in _NUMBER_WORDS or any(character.isdigit() for character in word)
