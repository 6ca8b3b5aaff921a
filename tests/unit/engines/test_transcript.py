"""How segments are spelled as subtitles."""

from __future__ import annotations

from corral.engines.transcript import LONGEST_CUE_S, Segment, Word, split_segment, write_srt, write_vtt

SEGMENTS = (
    Segment(start=0.0, end=1.5, text="Hello."),
    Segment(start=3599.9996, end=3725.042, text="A --> B & <b>\n\nend"),
)


def test_subrip_counts_cues_and_writes_commas() -> None:
    assert write_srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n2\n01:00:00,000 --> 01:02:05,042\nA --> B & <b>\nend\n"
    )


def test_webvtt_escapes_what_it_would_take_for_markup() -> None:
    assert write_vtt(SEGMENTS) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello.\n\n"
        "01:00:00.000 --> 01:02:05.042\nA --&gt; B &amp; &lt;b&gt;\nend\n"
    )


def test_silence_has_no_cues() -> None:
    assert (write_srt(()), write_vtt(())) == ("", "WEBVTT\n")


def a_stretch(*texts: str, seconds_each: float = 1.0) -> Segment:
    """A segment of words that are spoken one after the other."""
    words = tuple(
        Word(start=at * seconds_each, end=(at + 1) * seconds_each, text=text, probability=1.0)
        for at, text in enumerate(texts)
    )
    return Segment(start=0.0, end=words[-1].end, text="".join(texts).strip(), words=words)


def test_long_segment_is_split_after_its_sentences() -> None:
    parts = list(split_segment(a_stretch(" It", " rains.", " Why?", " Nobody", " knows")))
    assert [(part.start, part.end, part.text) for part in parts] == [
        (0.0, 2.0, "It rains."),
        (2.0, 3.0, "Why?"),
        (3.0, 5.0, "Nobody knows"),
    ]


def test_sentence_that_is_longer_than_a_subtitle_is_shown_is_split_between_words() -> None:
    parts = list(split_segment(a_stretch(*(f" word{number}" for number in range(20)))))
    assert " ".join(part.text for part in parts) == " ".join(f"word{number}" for number in range(20))
    assert all(part.end - part.start <= LONGEST_CUE_S for part in parts)
