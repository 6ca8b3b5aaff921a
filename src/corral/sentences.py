"""Sentences of a text: where it can be cut, so that speech of a long one begins with its first sentence.

Belongs here: cutting text after sentences, whole or as it is being written.
Does not belong here: what is said of it, and how (`corral.engines`).
May import: nothing of Corral.
"""

from __future__ import annotations

import re

_SENTENCE_END = re.compile(
    r"(?<=\w{4})[.!?\u2026]+[\"'\u00bb\u201d\u2019)]*\s+(?=[^\W\d_a-z])|(?<=[\u3002\uff01\uff1f])"
)
"""A sentence's end, followed by a capital, after a word too long to be an abbreviation; or one of Chinese or Japanese.

Engines speak each sentence by itself, so a cut between two changes nothing; one after `Dr.` would add a pause."""
_WORD = re.compile(r"[^\W_]")
"""Something to say: engines fail on a line without any."""


def split_text(text: str, *, first: int, others: int) -> list[str]:
    """Return the text, on one line, in pieces that end with a sentence.

    The first has `first` characters or more, each other one `others` or more: a short first one is heard soon.
    """
    cutter = SentenceCutter(first=first, others=others)
    return [*cutter.add(" ".join(text.split())), *cutter.end()]


class SentenceCutter:
    """Cuts a text that is still being written into pieces that end with a sentence."""

    def __init__(self, *, first: int, others: int) -> None:
        self._least = first
        self._others = others
        self._rest = ""

    def add(self, text: str) -> list[str]:
        """Take more of the text; return the pieces that are complete by now."""
        self._rest += text
        pieces: list[str] = []
        begin = 0
        for match in _SENTENCE_END.finditer(self._rest):
            end = match.end()
            is_long_enough = end - begin >= self._least
            if is_long_enough and _WORD.search(self._rest, begin, end) and _WORD.search(self._rest, end):
                pieces.append(self._rest[begin:end].strip())
                begin, self._least = end, self._others
        self._rest = self._rest[begin:]
        return pieces

    def end(self) -> list[str]:
        """Return what is left, if anything."""
        rest, self._rest = self._rest, ""
        return [rest] if rest else []
