"""Ranges of a file, as RFC 9110 has them."""

from __future__ import annotations

import pytest

from corral.gateway.sending import RangeError, Span, read_span


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-3", Span(0, 4)),
        ("bytes=4-", Span(4, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=-99", Span(0, 10)),
        ("bytes=9-9999", Span(9, 10)),
        (" bytes = 2 - 2 ", Span(2, 3)),
    ],
)
def test_range_is_cut_to_the_file(header: str, span: Span) -> None:
    assert read_span(header, 10) == span


@pytest.mark.parametrize(
    "header", [None, "", "bytes", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5", "bytes=5-2"]
)
def test_header_that_asks_for_no_single_range_gets_the_whole_file(header: str | None) -> None:
    assert read_span(header, 10) is None


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)])
def test_range_outside_the_file_is_refused(header: str, size: int) -> None:
    with pytest.raises(RangeError):
        read_span(header, size)
