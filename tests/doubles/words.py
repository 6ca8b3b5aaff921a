"""How well one text is another one: for what was spoken and heard."""

from __future__ import annotations

import re


def list_words(text: str) -> list[str]:
    """Return the words of a text, without case and punctuation."""
    return re.findall(r"[a-z']+", text.lower())


def word_error_rate(said: str, heard: str) -> float:
    """Edits from what was said to what was heard, per word that was said (Levenshtein over words)."""
    expected, seen = list_words(said), list_words(heard)
    row = list(range(len(seen) + 1))
    for count, word in enumerate(expected, 1):
        previous, row[0] = row[0], count
        for index, other in enumerate(seen, 1):
            previous, row[index] = row[index], min(row[index] + 1, row[index - 1] + 1, previous + (word != other))
    return row[-1] / len(expected)
