"""How segments are spelled as subtitles."""

from __future__ import annotations

from corral.engines.whisper.subtitles import Segment, write_srt, write_vtt

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
