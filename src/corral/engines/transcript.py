"""Segments of speech, written as text, JSON, SubRip and WebVTT.

Sources: the SubRip form as players read it (`00:00:01,500`), and the W3C's WebVTT.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from corral.work import OutputFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word; times in seconds from the start of the audio, probability 0 to 1."""

    start: float
    end: float
    text: str
    probability: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """How sure a decoder is of a stretch, in the words of Whisper."""

    seek: int
    """Where it begins, in frames of 10 ms."""
    tokens: tuple[int, ...]
    temperature: float | None
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One stretch of speech; times in seconds from the start of the audio."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    decoded: Decoded | None = None
    """None for a part of what was decoded, and where the decoder does not say."""


LONGEST_CUE_S = 7.0
"""The longest that a subtitle is shown (Netflix, Timed Text Style Guide: General Requirements)."""
_SENTENCE_ENDS = (".", "?", "!", "\N{HORIZONTAL ELLIPSIS}", "\N{IDEOGRAPHIC FULL STOP}", "\N{FULLWIDTH QUESTION MARK}")


def split_segment(segment: Segment) -> Iterator[Segment]:
    """Split a long segment into sentences, and these where they are longer than a subtitle is shown."""
    words: list[Word] = []
    for word in segment.words:
        if words and word.end - words[0].start > LONGEST_CUE_S:
            yield _join_words(words)
            words = []
        words.append(word)
        if word.text.rstrip().endswith(_SENTENCE_ENDS):
            yield _join_words(words)
            words = []
    if words:
        yield _join_words(words)


def _join_words(words: Sequence[Word]) -> Segment:
    text = "".join(word.text for word in words).strip()
    return Segment(start=words[0].start, end=words[-1].end, text=text, words=tuple(words))


def write_srt(segments: Sequence[Segment]) -> str:
    """Return the segments as SubRip."""
    cues = (
        f"{number}\n{_format_time(cue.start, ',')} --> {_format_time(cue.end, ',')}\n{_remove_empty_lines(cue.text)}\n"
        for number, cue in enumerate(segments, 1)
    )
    return "\n".join(cues)


def write_vtt(segments: Sequence[Segment]) -> str:
    """Return the segments as WebVTT; markup and arrows in the text are escaped."""
    cues = (
        f"\n{_format_time(cue.start, '.')} --> {_format_time(cue.end, '.')}\n"
        f"{escape(_remove_empty_lines(cue.text), quote=False)}\n"
        for cue in segments
    )
    return "WEBVTT\n" + "".join(cues)


def _remove_empty_lines(text: str) -> str:
    """An empty line would end the cue."""
    return "\n".join(line for line in text.splitlines() if line.strip())


def _format_time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def write_files(scratch: Path, segments: Sequence[Segment], text: str) -> tuple[OutputFile, ...]:
    """Write the four files of a transcript; blocks. Raises: OSError."""
    listed = json.dumps([_make_entry(segment) for segment in segments], ensure_ascii=False, indent=1)
    contents = {
        "text.txt": ("text/plain; charset=utf-8", text + "\n"),
        "segments.json": ("application/json", listed + "\n"),
        "subtitles.srt": ("application/x-subrip", write_srt(segments)),
        "subtitles.vtt": ("text/vtt", write_vtt(segments)),
    }
    for name, (_, content) in contents.items():
        (scratch / name).write_text(content, encoding="utf-8")
    return tuple(
        OutputFile(name=name, path=scratch / name, media_type=media_type) for name, (media_type, _) in contents.items()
    )


def _make_entry(segment: Segment) -> Mapping[str, Any]:  # Any: JSON
    entry = asdict(segment)
    del entry["decoded"]
    if not segment.words:
        del entry["words"]
    return entry if segment.decoded is None else {**entry, **asdict(segment.decoded)}


def join_texts(segments: Sequence[Segment]) -> str:
    """Return the text of all segments."""
    return " ".join(segment.text for segment in segments if segment.text)
