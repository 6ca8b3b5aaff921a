"""What Kokoro says: the sounds of a text, found by the program espeak-ng.

espeak-ng is GPL-3, so it is only ever run as a program of its own. It reads clauses and leaves punctuation out, which
Kokoro makes its pauses and its melody of; so each clause is asked for alone, and its punctuation follows it.

Sources: the sounds that Kokoro was trained with are those of misaki (its `EN_PHONES.md`, and its table from espeak-ng's
sounds to them); the letters of languages are those that names of Kokoro's voices begin with (its `VOICES.md`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from corral.engine_kinds import KOKORO
from corral.work import EngineError, EngineUnavailableError, TaskInvalidError

Speak = Callable[[str, str], str]
"""Takes a language and a clause, and returns its sounds in IPA, tied where two are one."""

LANGUAGES: Mapping[str, str] = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr-fr",
    "h": "hi",
    "i": "it",
    "p": "pt-br",
}
_OTHERWISE = "en-us"
_PROGRAM_S = 20.0
_TIE = "^"
_SWITCH = re.compile(r"\([a-z^-]+\)")
"""Marks of espeak-ng before and after a word of another language: `(en)weekend(fr)`."""
_ABBREVIATION = r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bJr)(?<!\bSr)(?<!\bProf)(?<!\bvs)"
_PUNCTUATION = re.compile(
    rf"((?:[;:,!?\u2026\u2014]|{_ABBREVIATION}\.|[\u3002\uff01\uff1f])+)[\"'\u201d\u2019)]*(?=\s|$)"
)
_WORD = re.compile(r"[^\W_]")
_FOREIGN_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL")

_ALL = {"a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "ɔ^ɪ": "Y", "d^ʒ": "ʤ", "t^ʃ": "ʧ"}
_OTHER_LANGUAGES = {**_ALL, "d^z": "ʣ", "t^s": "ʦ", "s^s": "S", "-": ""}
_ENGLISH = {
    "ʔˌn\u0329": "tᵊn",
    "ʔn\u0329": "tᵊn",
    "ʔn": "tᵊn",
    "ʔ": "t",
    **_ALL,
    "e": "A",
    "ə^l": "ᵊl",
    "ʲo": "jo",
    "ʲə": "jə",
    "ʲ": "",
    "ɚ": "əɹ",
    "r": "ɹ",
    "x": "k",
    "ç": "k",
    "ɐ": "ə",
    "ɬ": "l",
    "\u0303": "",
}
_BRITISH = {"A^ə": "ɛː", "iə": "ɪə"}
_AMERICAN = {"ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɪə": "iə", "ː": ""}


def choose_language(asked: str | None, voice: str, text: str) -> str:
    """Return how a text is read. Raises: TaskInvalidError where it is written in a script that none of them has."""
    for character in text:
        if unicodedata.name(character, "").startswith(_FOREIGN_SCRIPTS):
            what = f"the text has {character!r}, and espeak-ng cannot read Chinese, Japanese or Korean for Kokoro"
            raise TaskInvalidError(what, hint="write it in the letters of its sounds, or use another engine")
    return asked or LANGUAGES.get(voice[:1], _OTHERWISE)


def find_phonemes(sentence: str, language: str, speak: Speak) -> list[str]:
    """Return the sounds of a sentence, clause by clause, each with its punctuation. Raises: as `speak`."""
    parts = _PUNCTUATION.split(sentence)
    clauses: list[str] = []
    for at in range(0, len(parts), 2):
        if not _WORD.search(parts[at]):
            continue
        punctuation = parts[at + 1] if at + 1 < len(parts) else ""
        clauses.append(_translate(speak(language, parts[at]), language) + punctuation)
    return clauses


def group_clauses(clauses: Sequence[str], most: int) -> list[str]:
    """Join clauses as long as they have at most so many sounds; a longer one is cut between words, or anywhere."""
    groups: list[str] = []
    for clause in clauses:
        for part in _cut(clause, most):
            if groups and len(groups[-1]) + 1 + len(part) <= most:
                groups[-1] += f" {part}"
            else:
                groups.append(part)
    return groups


def _cut(clause: str, most: int) -> list[str]:
    parts: list[str] = []
    while len(clause) > most:
        space = clause.rfind(" ", 1, most)
        end = space if space > 0 else most
        parts.append(clause[:end])
        clause = clause[end:].lstrip()
    return [*parts, clause]


def _translate(sounds: str, language: str) -> str:
    """Return the sounds as Kokoro names them."""
    sounds = _SWITCH.sub("", sounds)
    if not language.startswith("en"):
        return _replace(sounds, _OTHER_LANGUAGES).replace(_TIE, "")
    sounds = _replace(sounds, _ENGLISH)
    sounds = re.sub("(\\S)\u0329", r"ᵊ\1", sounds).replace("\u0329", "")
    sounds = _replace(sounds, _BRITISH if language == "en-gb" else _AMERICAN)
    return sounds.replace("o", "ɔ").replace(_TIE, "")


def _replace(sounds: str, table: Mapping[str, str]) -> str:
    for sound in sorted(table, key=len, reverse=True):
        sounds = sounds.replace(sound, table[sound])
    return sounds


def speak_with_espeak(language: str, clause: str) -> str:
    """Ask espeak-ng for a clause. Blocks. Raises: EngineUnavailableError where it is not installed, EngineError."""
    assert KOKORO.helper is not None, "a fact of the engine"
    program = shutil.which(KOKORO.helper.name)
    if program is None:
        raise EngineUnavailableError(f"the program {KOKORO.helper.name!r} is gone", hint=KOKORO.helper.install)
    command = (program, "-q", "--ipa", f"--tie={_TIE}", "-b", "1", "-v", language, "--stdin")
    try:
        answer = subprocess.run(command, input=clause.encode(), capture_output=True, timeout=_PROGRAM_S, check=True)
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode(errors="replace").strip()
        raise EngineError(f"espeak-ng cannot read {language!r}: {message or error}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"espeak-ng does not answer: {error}") from error
    return " ".join(answer.stdout.decode(errors="replace").split())
